# The first instructions. A PVH loader (QEMU, Firecracker, Cloud Hypervisor) enters here in 32-bit protected mode
# without paging, ebx pointing to the start information. One byte goes out at once: whoever measures boot waits for it.

.section .note.pvh, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long boot_start

.section .boot, "awx", @progbits
.code32
.global boot_start
boot_start:
    mov dx, 0x3f8
    mov al, 10
    out dx, al
    cld
    cli
    mov esp, offset boot_stack_end
    mov ebp, ebx

    mov eax, 0x80000001
    cpuid
    mov esi, offset boot_no_long_mode
    bt edx, 29
    jnc boot_refuse
    mov esi, offset boot_no_execute_disable
    bt edx, 20
    jnc boot_refuse

    # The first GiB three times: where it is, at the direct map, and at the kernel's own place.
    mov edi, offset boot_directory
    mov eax, 0x83
    mov ecx, 512
1:  mov [edi], eax
    mov dword ptr [edi + 4], 0
    add edi, 8
    add eax, 0x200000
    loop 1b
    mov eax, offset boot_directory
    or eax, 3
    mov [boot_low], eax
    mov [boot_high + 510 * 8], eax
    mov eax, offset boot_low
    or eax, 3
    mov [boot_root], eax
    mov [boot_root + 256 * 8], eax
    mov eax, offset boot_high
    or eax, 3
    mov [boot_root + 511 * 8], eax

    mov eax, offset boot_root
    mov cr3, eax
    # PAE, global pages, FXSAVE and SSE.
    mov eax, 0x6a0
    mov cr4, eax
    # System calls, long mode, no-execute.
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x901
    wrmsr
    # Paging, write protection, native floating-point errors, no emulation.
    mov eax, 0x80010033
    mov cr0, eax
    lgdt [boot_descriptors_pointer]
    .byte 0xea
    .long boot_long
    .word 8

# esi: a line for the person.
boot_refuse:
    mov dx, 0x3f8
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  mov dx, 0xf4
    mov eax, 100
    out dx, eax
3:  hlt
    jmp 3b

.code64
boot_long:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    movabs rsp, offset kernel_stack_end
    mov edi, ebp
    xor ebp, ebp
    movabs rax, offset kernel_main
    call rax
    ud2

boot_no_long_mode: .asciz "kernel: this processor has no 64-bit mode\n"
boot_no_execute_disable: .asciz "kernel: this processor has no execute-disable bit\n"

.align 8
boot_descriptors:
    .quad 0
    .quad 0x00af9b000000ffff
boot_descriptors_pointer:
    .word 15
    .long boot_descriptors

.align 4096
.global boot_root
boot_root: .skip 4096
boot_low: .skip 4096
boot_high: .skip 4096
boot_directory: .skip 4096
.skip 256
boot_stack_end:

# Where the other processors begin, in real mode: copied to 0x8000 (processors.rs), which fills in the first places.
.section .rodata
.align 16
.global processor_start
processor_start:
.code16
    .byte 0xeb, processor_real - processor_start - 2
    .align 8
    # 8: the stack. 16: the page table.
    .quad 0
    .quad 0
    # 24: the descriptor table.
    .word 15
    .long 0x8020
    .word 0
    .quad 0
    .quad 0x00af9b000000ffff
processor_real:
    cli
    xor ax, ax
    mov ds, ax
    lgdt [0x8018]
    mov eax, 0x6a0
    mov cr4, eax
    mov eax, [0x8010]
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x901
    wrmsr
    mov eax, 0x80010033
    mov cr0, eax
    .byte 0x66, 0xea
    .long 0x8000 + processor_long - processor_start
    .word 8
.code64
processor_long:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    mov rsp, [0x8008]
    xor ebp, ebp
    movabs rax, offset processor_main
    call rax
    ud2
.global processor_end
processor_end:
