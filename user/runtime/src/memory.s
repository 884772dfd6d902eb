# The memory routines that the compiler calls by name. Loops of 16-byte moves: under an emulator `rep movsb` is nine
# times slower, on hardware they are within a third of it. Shared with the kernel, which includes this file.

.section .text.memory, "ax"

.global memcpy
memcpy:
    mov rax, rdi
# The last bytes are read before anything is written, so that a destination below its source may overlap it, and
# written last, in part over what was written before: few branches, whatever the length.
memory_forward:
    cmp rdx, 16
    jb 3f
    movups xmm2, [rsi + rdx - 16]
    lea rcx, [rdi + rdx - 16]
    sub rdx, 32
    jbe 2f
1:  movups xmm0, [rsi]
    movups xmm1, [rsi + 16]
    movups [rdi], xmm0
    movups [rdi + 16], xmm1
    add rsi, 32
    add rdi, 32
    sub rdx, 32
    ja 1b
    # 1 to 32 are left; before the last 16 there may be some.
2:  cmp rdi, rcx
    jae 7f
    movups xmm0, [rsi]
    movups [rdi], xmm0
7:  movups [rcx], xmm2
    ret
3:  cmp edx, 8
    jb 4f
    mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
4:  cmp edx, 4
    jb 5f
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
5:  test edx, edx
    jz 6f
    # The first, the middle and the last of one, two or three.
    movzx ecx, byte ptr [rsi]
    movzx r8d, byte ptr [rsi + rdx - 1]
    mov r9, rdx
    shr r9, 1
    movzx r10d, byte ptr [rsi + r9]
    mov [rdi], cl
    mov [rdi + r9], r10b
    mov [rdi + rdx - 1], r8b
6:  ret

.global memmove
memmove:
    mov rax, rdi
    mov rcx, rdi
    sub rcx, rsi
    # Forward is right unless the destination begins inside the source; so few bytes that all are read at first go there too.
    cmp rcx, rdx
    jae memory_forward
    cmp rdx, 16
    jb memory_forward
    movups xmm2, [rsi]
1:  movups xmm0, [rsi + rdx - 16]
    movups [rdi + rdx - 16], xmm0
    sub rdx, 16
    cmp rdx, 16
    jae 1b
    movups [rdi], xmm2
    ret

.global memset
memset:
    mov rax, rdi
    movzx ecx, sil
    mov r8, 0x0101010101010101
    imul rcx, r8
    movq xmm0, rcx
    punpcklqdq xmm0, xmm0
    cmp rdx, 32
    jb 2f
1:  movups [rdi], xmm0
    movups [rdi + 16], xmm0
    add rdi, 32
    sub rdx, 32
    cmp rdx, 32
    jae 1b
2:  cmp rdx, 8
    jb 3f
    mov [rdi], rcx
    add rdi, 8
    sub rdx, 8
    jmp 2b
3:  test rdx, rdx
    jz 5f
4:  mov [rdi], cl
    inc rdi
    dec rdx
    jnz 4b
5:  ret

.global memcmp
.global bcmp
memcmp:
bcmp:
    cmp rdx, 8
    jb 2f
1:  mov rax, [rdi]
    mov rcx, [rsi]
    cmp rax, rcx
    jne 6f
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    cmp rdx, 8
    jae 1b
2:  test rdx, rdx
    jz 4f
3:  movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    sub eax, ecx
    jne 5f
    inc rdi
    inc rsi
    dec rdx
    jnz 3b
4:  xor eax, eax
5:  ret
    # The first byte that differs is the most significant one after swapping.
6:  bswap rax
    bswap rcx
    cmp rax, rcx
    sbb eax, eax
    or eax, 1
    ret

.global strlen
strlen:
    xor eax, eax
1:  cmp byte ptr [rdi + rax], 0
    je 2f
    inc rax
    jmp 1b
2:  ret
