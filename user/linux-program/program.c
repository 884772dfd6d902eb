/* A small program for plain Linux: static, without any library. It makes its calls itself and checks each answer; what
 * it prints is the same everywhere, so its output under Linux and in a guest can be compared. */

typedef unsigned long word;

enum { WRITE = 1, MMAP = 9, BRK = 12, GETPID = 39, UNAME = 63, EXIT_GROUP = 231, UNKNOWN = 999 };
enum { NO_FILE = -9, FAULT = -14, NO_SUCH_CALL = -38 };

static long call(long number, word first, word second, word third, word fourth)
{
    register word r10 __asm__("r10") = fourth;
    register word r8 __asm__("r8") = -1UL;
    register word r9 __asm__("r9") = 0;
    long answer;
    /* What Linux loses is named, and nothing else: a system that loses more is found out. */
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return answer;
}

static void print(const char *text)
{
    word len = 0;
    while (text[len])
        len++;
    call(WRITE, 1, (word)text, len, 0);
}

static int failed;

static void check(const char *what, int holds)
{
    print(what);
    print(holds ? ": yes\n" : ": NO\n");
    failed |= !holds;
}

/* All sixteen vector registers and those general ones that a call keeps are as they were after one. */
static int registers_survive(void)
{
    word different;
    __asm__ volatile("movabs $0x1122334455667788, %%rbx\n\t"
                     ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n\t"
                     "movq %%rbx, %%xmm\\n\n\t"
                     "punpcklqdq %%xmm\\n, %%xmm\\n\n\t"
                     ".endr\n\t"
                     "mov %%rbx, %%rdx\n\t"
                     "mov %%rbx, %%r9\n\t"
                     "mov %%rbx, %%r15\n\t"
                     "mov $39, %%eax\n\t"
                     "syscall\n\t"
                     "xor %%rbx, %%rdx\n\t"
                     "xor %%rbx, %%r9\n\t"
                     "xor %%rbx, %%r15\n\t"
                     "or %%r9, %%rdx\n\t"
                     "or %%r15, %%rdx\n\t"
                     ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n\t"
                     "movq %%xmm\\n, %%rax\n\t"
                     "xor %%rbx, %%rax\n\t"
                     "or %%rax, %%rdx\n\t"
                     "psrldq $8, %%xmm\\n\n\t"
                     "movq %%xmm\\n, %%rax\n\t"
                     "xor %%rbx, %%rax\n\t"
                     "or %%rax, %%rdx\n\t"
                     ".endr\n\t"
                     : "=d"(different)
                     :
                     : "rax", "rbx", "rcx", "r9", "r11", "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3",
                       "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                       "xmm15");
    return different == 0;
}

/* New memory is zero and keeps what is written. */
static int usable(long start, word len)
{
    volatile unsigned char *bytes = (volatile unsigned char *)start;
    int good = start > 0;
    for (word at = 0; good && at < len; at++) {
        good = bytes[at] == 0;
        bytes[at] = (unsigned char)(at % 251);
    }
    for (word at = 0; good && at < len; at++)
        good = bytes[at] == at % 251;
    return good;
}

static int is_linux(const char *name)
{
    const char *wanted = "Linux";
    while (*wanted && *name == *wanted)
        name++, wanted++;
    return *name == *wanted;
}

__attribute__((used, noreturn)) static void program(void)
{
    static char names[6 * 65];
    static const char constant[] = "constant";
    print("hello from a program for Linux\n");
    check("it has a number", call(GETPID, 0, 0, 0, 0) > 0);
    check("the system has a name", call(UNAME, (word)names, 0, 0, 0) == 0 && is_linux(names));
    long end = call(BRK, 0, 0, 0, 0);
    check("the data segment grows", call(BRK, (word)end + 9000, 0, 0, 0) == end + 9000 && usable(end, 9000));
    /* Readable and writable; private and of no file. */
    long mapped = call(MMAP, 0, 20000, 3, 0x22);
    check("memory is mapped", mapped % 4096 == 0 && usable(mapped, 20000));
    check("registers survive a call", registers_survive());
    check("reading nowhere is refused", call(WRITE, 1, 8, 5, 0) == FAULT);
    check("reading the kernel is refused", call(WRITE, 1, 0xffff800000100000, 5, 0) == FAULT);
    check("writing constants is refused", call(UNAME, (word)constant & ~4095UL, 0, 0, 0) == FAULT);
    check("a file that is not open is refused", call(WRITE, 77, (word)names, 5, 0) == NO_FILE);
    check("an unknown call is refused", call(UNKNOWN, 0, 0, 0, 0) == NO_SUCH_CALL);
    call(EXIT_GROUP, failed ? 1 : 7, 0, 0, 0);
    __builtin_unreachable();
}

/* Linux begins here, with the stack pointer on the number of arguments. */
__asm__(".global _start\n"
        "_start:\n\t"
        "xor %ebp, %ebp\n\t"
        "and $-16, %rsp\n\t"
        "call program\n\t"
        "ud2\n");
