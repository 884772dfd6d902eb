/* The first process of a Linux guest that serves. `/plan` says what to do, a line each, in this order:
 *     module FILE             loads it
 *     address ADDRESS MASK    of the first network card
 *     neighbour ADDRESS MAC   who is there too, for good
 *     argument WORD           of the program; the first is its file
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CARD "eth0"
#define ARGUMENTS_MAX 64
#define PAUSE_US 1000
#define PAUSES_MAX 10000

static void fail(const char *what) {
    perror(what);
    printf("nom-peer: failed\n");
    for (;;) pause();
}

static void set_address(struct sockaddr *place, const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) fail(text);
    memcpy(place, &address, sizeof address);
}

static void up(int control, const char *name) {
    struct ifreq request = {0};
    strcpy(request.ifr_name, name);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(control, SIOCSIFFLAGS, &request)) fail(name);
}

static void load(const char *file) {
    int module = open(file, O_RDONLY | O_CLOEXEC);
    if (module < 0 || syscall(SYS_finit_module, module, "", 0)) fail(file);
    close(module);
}

/* A card appears a moment after its module. */
static void give_address(int control, const char *address, const char *mask) {
    struct ifreq request = {0};
    strcpy(request.ifr_name, CARD);
    for (int i = 0; ioctl(control, SIOCGIFINDEX, &request); i++) {
        if (i == PAUSES_MAX) fail(CARD);
        usleep(PAUSE_US);
    }
    set_address(&request.ifr_addr, address);
    if (ioctl(control, SIOCSIFADDR, &request)) fail(address);
    set_address(&request.ifr_netmask, mask);
    if (ioctl(control, SIOCSIFNETMASK, &request)) fail(mask);
    up(control, CARD);
    up(control, "lo");
}

static void add_neighbour(int control, const char *address, const char *mac) {
    struct arpreq entry = {.arp_flags = ATF_PERM | ATF_COM, .arp_dev = CARD};
    unsigned char *bytes = (unsigned char *)entry.arp_ha.sa_data;
    set_address(&entry.arp_pa, address);
    entry.arp_ha.sa_family = ARPHRD_ETHER;
    if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", bytes, bytes + 1, bytes + 2, bytes + 3, bytes + 4, bytes + 5) != 6)
        fail(mac);
    if (ioctl(control, SIOCSARP, &entry)) fail("neighbour");
}

int main(void) {
    static char text[1 << 16], *arguments[ARGUMENTS_MAX + 1];
    int count = 0;
    setlinebuf(stdout);
    mount("proc", "/proc", "proc", 0, 0);
    mount("sysfs", "/sys", "sysfs", 0, 0);
    if (mount("dev", "/dev", "devtmpfs", 0, 0)) fail("/dev");
    int plan = open("/plan", O_RDONLY | O_CLOEXEC);
    if (plan < 0 || read(plan, text, sizeof text - 1) <= 0) fail("/plan");
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) fail("socket");
    for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n")) {
        char *word = strchr(line, ' '), *second;
        if (!word) fail(line);
        *word++ = 0;
        if (!strcmp(line, "argument")) {
            if (count == ARGUMENTS_MAX) fail("arguments");
            arguments[count++] = word;
            continue;
        }
        if (!strcmp(line, "module")) {
            load(word);
            continue;
        }
        second = strchr(word, ' ');
        if (!second) fail(line);
        *second++ = 0;
        if (!strcmp(line, "address")) give_address(control, word, second);
        else if (!strcmp(line, "neighbour")) add_neighbour(control, word, second);
        else fail(line);
    }
    struct rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    pid_t child = fork();
    if (child == 0) {
        execv(arguments[0], arguments);
        fail(arguments[0]);
    }
    for (;;) {
        int status;
        pid_t ended = wait(&status);
        if (ended == child) printf("nom-peer: %s ended with status %d\n", arguments[0], status);
        if (ended < 0) pause();
    }
}
