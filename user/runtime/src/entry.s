# The first instruction of an application, and the way into and out of its upcalls.

.section .text.entry, "ax"

# rdi: the start page. The stack is aligned; nothing is below it.
.global nom_start
nom_start:
    xor ebp, ebp
    call nom_runtime_start
    ud2

# A further core begins here, rdi: its number.
.global nom_context_start
nom_context_start:
    xor ebp, ebp
    call nom_context_run
    ud2

# Takes a frame's general registers off the stack; rsp is then on the instruction pointer, code segment, flags, stack
# pointer and stack segment.
.macro RESTORE
    add rsp, 32
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
.endm

# Calls a function with rbx as its argument while all vector state rests on the stack. rbx stays, rsp does not.
.macro CALL_WITH_VECTORS_SAVED function
    sub rsp, [rip + nom_vector_state_len]
    and rsp, -64
    cmp byte ptr [rip + nom_vectors_by], 0
    je 1f
    # XSAVE leaves most of the header as it is, and XRSTOR wants it zero.
    xor eax, eax
    mov [rsp + 512], rax
    mov [rsp + 520], rax
    mov [rsp + 528], rax
    mov [rsp + 536], rax
    mov [rsp + 544], rax
    mov [rsp + 552], rax
    mov [rsp + 560], rax
    mov [rsp + 568], rax
    mov eax, -1
    mov edx, -1
    xsave64 [rsp]
    # The function begins with the vector unit as a function may expect it.
    fninit
    ldmxcsr [rip + nom_mxcsr]
    mov rdi, rbx
    call \function
    mov eax, -1
    mov edx, -1
    xrstor64 [rsp]
    jmp 2f
1:  fxsave64 [rsp]
    fninit
    ldmxcsr [rip + nom_mxcsr]
    mov rdi, rbx
    call \function
    fxrstor64 [rsp]
2:
.endm

# The kernel enters here with rsp on an upcall frame (abi/src/upcall.rs) and upcalls disabled.
.global nom_upcall_entry
nom_upcall_entry:
    cld
    mov rbx, rsp
    cmp byte ptr [rip + nom_vectors_by], 2
    jne 4f
    # Up to AVX sixteen moves cost less than XSAVE. Handlers do not use the old floating-point unit, so it stays.
    sub rsp, 576
    and rsp, -64
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovaps [rsp + 32 * \number], ymm\number
    .endr
    stmxcsr [rsp + 512]
    ldmxcsr [rip + nom_mxcsr]
    mov rdi, rbx
    call nom_upcall
    ldmxcsr [rsp + 512]
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovaps ymm\number, [rsp + 32 * \number]
    .endr
    jmp 5f
4:  CALL_WITH_VECTORS_SAVED nom_upcall
5:  mov rsp, rbx
    # The jump at the end has no register left to jump by.
    mov rax, [rsp + 152]
    mov gs:[24], rax
    cmp qword ptr [rsp + 24], 0
    je 3f
    mov qword ptr gs:[16], 0
    mov gs:[32], rsp
    RESTORE
    # From here to the end no general register may change: the kernel sends an event that comes within to `again`.
.global nom_return_start
nom_return_start:
    cmp qword ptr gs:[8], 0
    jne nom_return_again
    mov qword ptr gs:[0], 1
    lea rsp, [rsp + 16]
    popfq
    mov rsp, [rsp]
    jmp qword ptr gs:[24]
.global nom_return_end
nom_return_end:

.global nom_return_again
nom_return_again:
    # General registers hold the interrupted context, and the frame is still whole: it is entered once more.
    mov rsp, gs:[32]
    mov qword ptr [rsp], 0
    mov qword ptr gs:[16], 1
    jmp nom_upcall_entry

    # A nested fault, or one while upcalls were disabled: they stay so.
3:  dec qword ptr gs:[16]
    RESTORE
    lea rsp, [rsp + 16]
    popfq
    mov rsp, [rsp]
    jmp qword ptr gs:[24]

# From one thread to another: rdi is where the old one's stack pointer is kept, rsi the new one's. What a function may
# change is lost, as in any call.
.global nom_thread_switch
nom_thread_switch:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    mov rsp, rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

# A new thread's first instruction; r12 is the function that it begins with, and rsp is aligned.
.global nom_thread_begin
nom_thread_begin:
    xor ebp, ebp
    call r12
    ud2

# A thread was interrupted in order to leave its core: its instruction pointer is on its stack, below the red zone. All
# that it has rests there too while it goes on elsewhere.
.global nom_thread_vacate_entry
nom_thread_vacate_entry:
    pushfq
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rbx, rsp
    CALL_WITH_VECTORS_SAVED nom_thread_vacate
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    popfq
    ret 128

.section .rodata
nom_mxcsr: .long 0x1f80
