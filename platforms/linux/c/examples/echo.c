/* Sends back what it gets. docs/c.md tells its story. */
#include <nom.h>
#include <stdio.h>

/* Answers as far as there is room; the rest stays with the stack, whose window then stops the sender. */
static void echo(int nom, int64_t connection) {
    uint8_t bytes[16384];
    long len;
    while ((len = nom_peek(nom, connection, bytes, sizeof bytes)) > 0) {
        long sent = nom_write(nom, connection, bytes, (size_t)len);
        if (sent <= 0) return; /* NOM_WRITABLE will come */
        nom_read(nom, connection, bytes, (size_t)sent);
        nom_answered(nom, connection, 1);
    }
    if (len == 0) nom_close(nom, connection);
}

int main(int argc, char **argv) {
    int nom = nom_start("echo-c", argc, (const char *const *)argv);
    if (nom < 0 || nom_listen(nom, 0) < 0) {
        fprintf(stderr, "echo: %s\n", nom_error());
        return 1;
    }
    struct nom_event events[64];
    int count;
    while ((count = nom_wait(nom, events, 64, -1)) >= 0) {
        for (int i = 0; i < count; i++) {
            if (events[i].what & NOM_ACCEPT) {
                int64_t connection;
                while ((connection = nom_accept(nom, (int)events[i].detail, 0)) > 0) echo(nom, connection);
            }
            if (events[i].what & NOM_ENDED) continue;
            if (events[i].what & (NOM_READABLE | NOM_WRITABLE)) echo(nom, events[i].connection);
        }
    }
    if (count != NOM_OVER) fprintf(stderr, "echo: %s\n", nom_error());
    nom_stop(nom);
    return count == NOM_OVER ? 0 : 1;
}
