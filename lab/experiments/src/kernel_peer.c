// What single deeds cost in Linux: the counterpart of images/trial-guest/src/rows.rs, in the same order with the same
// batches, pinned to the first processor of its guest; what answers is on the second.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 7
#define PAGE_LEN 4096

// The time stamp counter, as on the other side: under an emulator Linux may fall back to a clock that ticks in
// milliseconds. What a tick is comes from that clock, over half a second.
static double ns_a_tick;

static unsigned long ticks(void) { return __builtin_ia32_rdtsc(); }

static unsigned long now_ns(void) { return (unsigned long)(ticks() * ns_a_tick); }

static unsigned long kernel_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ul + time.tv_nsec;
}

static void calibrate(void) {
    unsigned long from_ns = kernel_ns(), from = ticks();
    while (kernel_ns() - from_ns < 500000000ul) continue;
    ns_a_tick = (double)(kernel_ns() - from_ns) / (ticks() - from);
}

static void must(int fine, const char *what) {
    if (!fine) {
        printf("rows FAILED %s\n", what);
        for (;;) pause();
    }
}

static void row(const char *name, unsigned long turns, unsigned long (*batch)(unsigned long)) {
    batch(turns / 8 + 1);
    unsigned long least = -1ul;
    for (int number = 0; number < BATCHES; number++) {
        unsigned long took = batch(turns);
        if (took < least) least = took;
    }
    printf("row %s %.1f\n", name, (double)least / turns);
}

static void pin(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    must(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
}

static unsigned long null_call(unsigned long turns) {
    unsigned long from = now_ns();
    for (unsigned long turn = 0; turn < turns; turn++) syscall(SYS_getppid);
    return now_ns() - from;
}

static volatile unsigned long *page;

static void allow(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info, (void)context;
    mprotect((void *)page, PAGE_LEN, PROT_READ | PROT_WRITE);
}

static unsigned long fault(unsigned long turns) {
    unsigned long from = now_ns();
    for (unsigned long turn = 0; turn < turns; turn++) {
        mprotect((void *)page, PAGE_LEN, PROT_READ);
        *page = turn;
    }
    return now_ns() - from;
}

static unsigned long map_unmap(unsigned long turns) {
    unsigned long from = now_ns();
    for (unsigned long turn = 0; turn < turns; turn++) {
        volatile unsigned long *fresh =
            mmap(NULL, PAGE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *fresh = 1;
        munmap((void *)fresh, PAGE_LEN);
    }
    return now_ns() - from;
}

// The process moves to the other processor and back: a turn is there and back, as the core there is taken and given.
static unsigned long core_handover(unsigned long turns) {
    unsigned long from = now_ns();
    for (unsigned long turn = 0; turn < turns; turn++) {
        pin(1);
        pin(0);
    }
    return now_ns() - from;
}

static atomic_int asked, answered;
static _Atomic unsigned long woken_ns;

static void sleep_while(atomic_int *word, int value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(atomic_int *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }

static void *answer(void *argument) {
    pin(1);
    for (int last = 0;;) {
        while (atomic_load(&asked) == last) sleep_while(&asked, last);
        last = atomic_load(&asked);
        atomic_store(&woken_ns, now_ns());
        atomic_store(&answered, last);
        wake(&answered);
    }
    return argument;
}

static unsigned long ask(unsigned long turns, int one_way) {
    unsigned long sum = 0;
    for (unsigned long turn = 0; turn < turns; turn++) {
        unsigned long from = now_ns();
        int last = atomic_load(&asked);
        atomic_store(&asked, last + 1);
        wake(&asked);
        while (atomic_load(&answered) != last + 1) sleep_while(&answered, last);
        sum += (one_way ? atomic_load(&woken_ns) : now_ns()) - from;
    }
    return sum;
}

static unsigned long notify_one_way(unsigned long turns) { return ask(turns, 1); }
static unsigned long notify_round_trip(unsigned long turns) { return ask(turns, 0); }

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t conditions[2] = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};
static unsigned long whose, play_turns;

static void *play(void *argument) {
    unsigned long own = (unsigned long)argument;
    for (unsigned long turn = 0; turn < play_turns / 2; turn++) {
        pthread_mutex_lock(&mutex);
        while (whose % 2 != own) pthread_cond_wait(&conditions[own], &mutex);
        whose++;
        pthread_cond_signal(&conditions[1 - own]);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static unsigned long thread_switch(unsigned long turns) {
    pthread_t other;
    whose = 0;
    play_turns = turns;
    unsigned long from = now_ns();
    must(pthread_create(&other, NULL, play, (void *)1) == 0, "pthread_create");
    play((void *)0);
    pthread_join(other, NULL);
    return now_ns() - from;
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    // Not as the first process: of that one the kernel reports every SIGSEGV on the console, handled or not.
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child > 0)
        for (;;) pause();
    must(sysconf(_SC_NPROCESSORS_ONLN) >= 2, "two processors are needed");
    pin(0);
    calibrate();
    row("null_call", 20000, null_call);
    page = mmap(NULL, PAGE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 0;
    struct sigaction action = {.sa_sigaction = allow, .sa_flags = SA_SIGINFO};
    must(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction");
    row("fault", 3000, fault);
    row("map_unmap", 3000, map_unmap);
    row("core_handover", 300, core_handover);
    pthread_t other;
    must(pthread_create(&other, NULL, answer, NULL) == 0, "pthread_create");
    row("notify_one_way", 1000, notify_one_way);
    row("notify_round_trip", 1000, notify_round_trip);
    row("thread_switch", 5000, thread_switch);
    printf("rows done\n");
    for (;;) pause();
}
