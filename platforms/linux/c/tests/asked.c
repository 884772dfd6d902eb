/* Does what a line asks for, so that a test can ask for everything that the header has. */
#include <inttypes.h>
#include <nom.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int nom;
static int prices;
static int resets;

static void say(int64_t connection, const char *line) {
    nom_write(nom, connection, (const uint8_t *)line, strlen(line));
    nom_answered(nom, connection, 1);
}

static void *elsewhere(void *result) {
    *(int *)result = nom_listen(nom, 0);
    return NULL;
}

static void obey(int64_t connection, char *line) {
    char text[300], setting[100], cut[6], key[60], value[60];
    uint8_t byte;
    struct nom_price price;
    if (strncmp(line, "price ", 6) == 0) {
        int code = nom_price(nom, atoi(line + 6), &price);
        if (code == 0) {
            snprintf(text, sizeof text, "%" PRId64 " %d %" PRIu64 " %d\n", price.atto_per_unit,
                     price.valid_for_ns == -1, price.generation, prices > 0);
        } else {
            snprintf(text, sizeof text, "%d %s\n", code, nom_error());
        }
    } else if (sscanf(line, "knob %59s %59[^\n]", key, value) == 2) {
        int code = nom_knob(nom, key, value);
        long whole = nom_setting(nom, setting, sizeof setting), again = nom_setting(nom, cut, sizeof cut);
        if (code == 0) {
            snprintf(text, sizeof text, "%s|%s|%d\n", setting, cut, whole == again);
        } else {
            snprintf(text, sizeof text, "%d %s\n", code, nom_error());
        }
    } else if (strcmp(line, "timer") == 0) {
        int64_t never = nom_timer(nom, 1000, 1);
        if (nom_cancel(nom, never) != 0 || nom_cancel(nom, never) != NOM_GONE) abort();
        if (nom_timer(nom, 2000, (uint64_t)connection) <= 0) abort();
        return;
    } else if (strcmp(line, "peer") == 0) {
        snprintf(text, sizeof text, "%08" PRIx64 "\n", (uint64_t)nom_peer(nom, connection));
    } else if (strcmp(line, "wrong") == 0) {
        pthread_t thread;
        int foreign = 0;
        if (pthread_create(&thread, NULL, elsewhere, &foreign) != 0) abort();
        pthread_join(thread, NULL);
        snprintf(text, sizeof text, "%ld %ld %ld %ld %d %d %d %d %ld %ld\n", nom_read(nom, connection, NULL, 5),
                 nom_read(nom, connection, &byte, 1), nom_read(nom, 12345678901, &byte, 1),
                 nom_read(nom + 1, connection, &byte, 1), nom_wait(nom, NULL, 1, 0), nom_listen(nom, 70000),
                 nom_knob(nom, NULL, "x"), foreign, (long)nom_accept(nom, 9, 0), (long)nom_accept(nom, 0, 0));
    } else if (strcmp(line, "shut") == 0) {
        say(connection, "last\n");
        if (nom_shut(nom, connection) != 0) abort();
        if (nom_write(nom, connection, &byte, 1) != NOM_REFUSED) abort();
        return;
    } else if (strcmp(line, "abort") == 0) {
        if (nom_abort(nom, connection) != 0 || nom_abort(nom, connection) != NOM_GONE) abort();
        return;
    } else if (strcmp(line, "close") == 0) {
        say(connection, "bye\n");
        if (nom_close(nom, connection) != 0) abort();
        return;
    } else if (strcmp(line, "resets") == 0) {
        snprintf(text, sizeof text, "%d\n", resets);
    } else if (strcmp(line, "drain") == 0) {
        say(connection, "draining\n");
        nom_drain(nom);
        return;
    } else {
        snprintf(text, sizeof text, "what is %.200s?\n", line);
    }
    say(connection, text);
}

/* Takes whole lines, and leaves the beginning of one with the stack. */
static void look(int64_t connection) {
    char line[256];
    for (;;) {
        long len = nom_peek(nom, connection, (uint8_t *)line, sizeof line - 1);
        if (len == 0) nom_close(nom, connection);
        if (len <= 0) return;
        char *end = memchr(line, '\n', (size_t)len);
        if (end == NULL) return;
        nom_read(nom, connection, (uint8_t *)line, (size_t)(end - line) + 1);
        line[end - line] = 0;
        obey(connection, line);
    }
}

int main(int argc, char **argv) {
    if (nom_start("Wrong Name", argc, (const char *const *)argv) != NOM_ARGUMENT) return 2;
    if (nom_start("asked", 0, NULL) != NOM_ARGUMENT || strcmp(nom_error(), "argc and argv are not those of a main") != 0)
        return 3;
    nom = nom_start("asked", argc, (const char *const *)argv);
    if (nom < 0) {
        fprintf(stderr, "asked: %d %s\n", nom, nom_error());
        return 1;
    }
    if (nom_listen(nom, 0) < 0 || nom_listen(nom, 4040) != 4040) return 4;
    struct nom_event event;
    int count, drains = 0;
    while ((count = nom_wait(nom, &event, 1, 10 * 1000 * 1000)) >= 0) {
        if (count == 0) continue;
        if (event.what & NOM_PRICE) prices++;
        if (event.what & NOM_DRAIN) drains++;
        if (event.what & NOM_TIMER) say((int64_t)event.tag, "due\n");
        if (event.what & NOM_ACCEPT) {
            int64_t connection = nom_accept(nom, (int)event.detail, event.detail);
            look(connection);
        }
        if (event.what & NOM_ENDED) {
            int64_t gone = event.connection;
            uint8_t byte = 0;
            resets += event.detail == NOM_RESET;
            if (nom_read(nom, gone, &byte, 1) != NOM_GONE || nom_write(nom, gone, &byte, 1) != NOM_GONE) return 7;
            if (nom_shut(nom, gone) != NOM_GONE || nom_close(nom, gone) != NOM_GONE) return 8;
            continue;
        }
        if (event.what & (NOM_READABLE | NOM_WRITABLE)) {
            if (event.tag != 7007 && event.tag != 4040) return 5;
            look(event.connection);
        }
    }
    printf("over=%d drains=%d prices=%d\n", count == NOM_OVER, drains, prices > 0);
    if (nom_stop(nom) != 0 || nom_stop(nom) != NOM_GONE) return 6;
    return 0;
}
