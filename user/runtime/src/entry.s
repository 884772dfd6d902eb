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

# The kernel enters here with rsp on an upcall frame (abi/src/upcall.rs) and upcalls disabled.
.global nom_upcall_entry
nom_upcall_entry:
    cld
    mov rbx, rsp
    sub rsp, [rip + nom_vector_state_len]
    and rsp, -64
    cmp byte ptr [rip + nom_has_xsave], 0
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
    # The handler begins with the vector unit as a function may expect it.
    fninit
    ldmxcsr [rip + nom_mxcsr]
    mov rdi, rbx
    call nom_upcall
    mov eax, -1
    mov edx, -1
    xrstor64 [rsp]
    jmp 2f
1:  fxsave64 [rsp]
    fninit
    ldmxcsr [rip + nom_mxcsr]
    mov rdi, rbx
    call nom_upcall
    fxrstor64 [rsp]
2:  mov rsp, rbx
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

.section .rodata
nom_mxcsr: .long 0x1f80
