/* nom for C: a service on a network stack of its own, which knows today's prices.
 *
 * A program starts a service, waits for events and acts. Nothing calls back into the program. A service belongs to the
 * thread that started it; other threads may have others, each on a network of its own.
 *
 * A call that does not go returns one of the negative numbers below, changes nothing, and nom_error() has a line for a
 * person. Names of services and connections are numbers and never used again for long: a stale one is NOM_GONE.
 * docs/c.md tells the story. */

#ifndef NOM_H
#define NOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    NOM_AGAIN = -1,    /* nothing is there now, or there is no room: an event says when to try again */
    NOM_ARGUMENT = -2, /* an argument is wrong */
    NOM_GONE = -3,     /* there is no such service in this thread, or no such connection any more */
    NOM_FULL = -4,     /* a table is full */
    NOM_REFUSED = -5,  /* what was asked for cannot be had */
    NOM_OVER = -6,     /* the service has ended: nom_stop forgets it */
    NOM_FAILED = -7    /* the library itself failed, and the service is gone */
};

/* What happened, as a sum. */
enum {
    NOM_ACCEPT = 1,   /* connections wait on port `detail`: nom_accept. Told with every wait while there are some */
    NOM_READABLE = 2, /* bytes came, or a read left some, or nothing will follow: nom_read until NOM_AGAIN or 0 */
    NOM_WRITABLE = 4, /* there is room again, after a write that did not take all */
    NOM_ENDED = 8,    /* the connection is gone; `detail` says why. Its name is told for the last time */
    NOM_TIMER = 16,   /* a timer was due; `connection` is its name */
    NOM_PRICE = 32,   /* other prices are in force */
    NOM_DRAIN = 64    /* the service begins to end: no further connections. NOM_OVER follows */
};

/* Why a connection ended. */
enum { NOM_CLOSED = 0, NOM_RESET = 1, NOM_TIMED_OUT = 2, NOM_NOT_TAKEN = 3, NOM_ABORTED = 4 };

/* What has a price, and its unit: a byte on the wire, a nanosecond of a core, a byte held for a second. */
enum { NOM_BANDWIDTH = 0, NOM_CORE = 1, NOM_MEMORY = 2 };

struct nom_event {
    uint32_t what;
    uint32_t detail;
    int64_t connection;
    uint64_t tag; /* what nom_accept or nom_timer was given */
};

struct nom_price {
    int64_t atto_per_unit; /* 10^-18 dollars */
    int64_t valid_for_ns;  /* -1: until it is replaced; 0: it has run out */
    uint64_t generation;   /* grows with every publication */
};

/* Starts a service, told by the words of a main: --config FILE --run DIRECTORY --port PORT [--board FILE] [--ledger FILE]
 * [--user NAME]. `name` is a to z, 0 to 9 and -. Says `ready port=N` on standard output. From then on SIGTERM and SIGINT
 * begin a drain, SIGHUP reads the configuration again, a broken pipe is not a signal, and the process has no capability.
 * Returns the service's name, above 0. */
int nom_start(const char *name, int argc, const char *const *argv);

/* Takes connections to a port; 0 is the port of the configuration. Returns the port. */
int nom_listen(int nom, int port);

/* Lets the service work until something has happened, at most `timeout_us` (negative: for ever), and writes what happened
 * to at most `max` places. Returns how many, 0 when the time is over, NOM_OVER when the service is. Nothing is sent or
 * received while no thread waits here. */
int nom_wait(int nom, struct nom_event *events, int max, int64_t timeout_us);

/* The connection that waits longest on a port (0: of the configuration). Its events carry `tag`. */
int64_t nom_accept(int nom, int port, uint64_t tag);

/* Reads at most `room` bytes. 0: the other side has sent everything. What is not read stays with the stack, whose window
 * then stops the sender. */
long nom_read(int nom, int64_t connection, uint8_t *bytes, size_t room);

/* The same, but the bytes will be read again. */
long nom_peek(int nom, int64_t connection, uint8_t *bytes, size_t room);

/* Takes as many of the bytes as there is room for, and copies them. Returns how many. */
long nom_write(int nom, int64_t connection, const uint8_t *bytes, size_t len);

/* Counts an operation: answered by what was written so far, or refused. Latency and revenue come from these. */
int nom_answered(int nom, int64_t connection, int accepted);

/* Sends what was written, and that nothing follows. Reading goes on. */
int nom_shut(int nom, int64_t connection);

/* Sends what was written, ends the connection and forgets its name. With bytes unread it is reset. */
int nom_close(int nom, int64_t connection);

/* Resets the connection and forgets its name. */
int nom_abort(int nom, int64_t connection);

/* Who is at the other end: its IPv4 address as a number, 10.0.0.1 is 0x0a000001. */
int64_t nom_peer(int nom, int64_t connection);

/* An event after so long, once. Returns the timer's name, above 0. */
int64_t nom_timer(int nom, uint64_t after_us, uint64_t tag);

/* No event of that timer. */
int nom_cancel(int nom, int64_t timer);

/* The price of a resource that is in force; NOM_AGAIN when none is known. */
int nom_price(int nom, int resource, struct nom_price *price);

/* Changes a key of the configuration while it runs: "batch" to "14us", say. What may not change is refused. */
int nom_knob(int nom, const char *key, const char *value);

/* The knobs in force as a text, cut to `room` with its zero byte. Returns how long the whole text is. */
long nom_setting(int nom, char *text, size_t room);

/* Begins the end, as SIGTERM does. */
int nom_drain(int nom);

/* Drains to the end without further events, and forgets the service. */
int nom_stop(int nom);

/* A line about what went wrong last in this thread. It stays until the next one. */
const char *nom_error(void);

#ifdef __cplusplus
}
#endif

#endif
