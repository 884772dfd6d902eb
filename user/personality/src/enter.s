# Into a foreign program and back: its exit is answered by going on at `nom_foreign_leave` with our stack (calls.rs).

.section .text.foreign, "ax"

# rdi: its first instruction; rsi: its stack.
.global nom_foreign_enter
nom_foreign_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + nom_foreign_stack], rsp
    mov rsp, rsi
    mov rax, rdi
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor edi, edi
    xor ebp, ebp
    jmp rax

# rax: its exit code; rsp: as it was above.
.global nom_foreign_leave
nom_foreign_leave:
    cld
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

.section .bss
.align 8
.global nom_foreign_stack
nom_foreign_stack: .skip 8
