# Ways into ring 0 and out again. All build the same frame (trap.rs); interrupts stay off in ring 0 except at
# `kernel_halt`. Precompiled Rust uses the red zone and the vector registers: nothing interrupts ring 0 where a red
# zone is live, and what interrupted an application saves the vector state that the kernel's own code may touch
# (legacy SSE leaves the upper halves of wider registers alone).

.section .text.trap, "ax"

# 256 entries of 16 bytes.
.align 16
.global trap_entries
trap_entries:
.set vector, 0
.rept 256
    .align 16
    # These push an error code of their own.
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push 0
    .endif
    push vector
    jmp trap_common
    .set vector, vector + 1
.endr

.macro SAVE
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
.endm

.macro RESTORE
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
    add rsp, 16
.endm

# From ring 0 only a sleeping core is interrupted, within a call that gives the vector registers up.
.align 16
trap_from_kernel:
    SAVE
    mov rdi, rsp
    xor esi, esi
    mov rbp, rsp
    and rsp, -16
    call kernel_trap
    mov rsp, rbp
    jmp trap_return

.align 16
trap_common:
    test byte ptr [rsp + 24], 3
    jz trap_from_kernel
    swapgs
    SAVE
    # Flags that an application may have set (direction, alignment check, single step) are not ours.
    push 2
    popfq
saved:
    mov rdi, rsp
    mov rbp, rsp
    # What the kernel's code uses: no floating point, so neither the old unit nor any mode changes.
    sub rsp, 256
    and rsp, -16
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movaps [rsp + 16 * \number], xmm\number
    .endr
    mov rsi, rsp
    call kernel_trap
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movaps xmm\number, [rsp + 16 * \number]
    .endr
    mov rsp, rbp
trap_return:
    RESTORE
    test byte ptr [rsp + 8], 3
    jz 2f
    swapgs
    # `sysret` takes rip from rcx and the flags from r11. Where they hold that anyway, as after a call or on the way
    # into a handler, it is the same and shorter: but for the resume flag, and for addresses that ring 3 cannot have.
    cmp rcx, [rsp]
    jne 2f
    cmp r11, [rsp + 16]
    jne 2f
    bt r11, 16
    jc 2f
    bt rcx, 47
    jc 2f
    mov rsp, [rsp + 24]
    sysretq
2:  iretq

.align 16
.global system_call_entry
system_call_entry:
    swapgs
    mov gs:[0], rsp
    mov rsp, gs:[8]
    push 0x1b
    push gs:[0]
    push r11
    push 0x23
    push rcx
    push 0
    push 0x100
    SAVE
    # Callers of other systems (lower numbers, abi/src/call.rs) expect their vector registers back.
    cmp eax, 0x6e6f6d00
    jb saved
    mov rdi, rsp
    call kernel_call
    mov rdi, rsp

# rdi: the state of a context that gave its vector registers up. Nothing of the kernel or of others may show.
.global resume_cleared
resume_cleared:
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    xorps xmm\number, xmm\number
    .endr
    mov rsp, rdi
    jmp trap_return

# rdi: the state of a context; rsi: its vector state, by XSAVE when edx is not 0.
.global resume_whole
resume_whole:
    mov rsp, rdi
    test edx, edx
    jz 1f
    mov eax, -1
    mov edx, -1
    xrstor64 [rsi]
    jmp trap_return
1:  fxrstor64 [rsi]
    jmp trap_return

# Sleeps until an interrupt. `sti` lets it in only after the next instruction, so none is missed.
.global kernel_halt
kernel_halt:
    sti
    hlt
    cli
    ret

# Looks at a byte (rdi) a number of times (rsi) with interrupts on, until it is not 0. No `pause`: for that an emulator
# leaves its translated code.
.global kernel_watch
kernel_watch:
    sti
1:  cmp byte ptr [rdi], 0
    jne 2f
    dec rsi
    jnz 1b
2:  cli
    ret

# The first core's stacks, each above a page that is not mapped (main.rs).
.section .bss
.align 4096
.global kernel_stack_guard
kernel_stack_guard:
.skip 4096 + 32768
.global kernel_stack_end
kernel_stack_end:
.global fault_stack_guard
fault_stack_guard:
.skip 4096 + 8192
.global fault_stack_end
fault_stack_end:
