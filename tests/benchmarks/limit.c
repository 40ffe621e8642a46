/* The bare receiver that a server is compared with: takes C-STOREs and writes what comes, and knows nothing else.
 *
 *     limit PORT DIRECTORY [sync]
 *
 * One process a connection. Every proposed presentation context is accepted with its first transfer syntax. The data set
 * of each object goes to a temporary file as it arrives; with "sync" that is fdatasync'ed; then it is renamed and
 * answered with success. No header is read, no index kept, nothing checked that need not be. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LARGEST = 1 << 20, MAX_PDU = 131072, TITLE = 512 };

static unsigned char pdu[LARGEST];
static unsigned char command[4096];
static unsigned char reply[8192];

static void fail(const char *what) { perror(what); exit(1); }

static uint32_t be32(const unsigned char *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static uint16_t be16(const unsigned char *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t le32(const unsigned char *p) { return (uint32_t)p[3] << 24 | p[2] << 16 | p[1] << 8 | p[0]; }
static void put32(unsigned char *p, uint32_t v) { p[0] = v >> 24; p[1] = v >> 16; p[2] = v >> 8; p[3] = v; }
static void put16(unsigned char *p, uint16_t v) { p[0] = v >> 8; p[1] = v; }

/* Read exactly n bytes; 0 at the end of the connection. */
static int take(int from, unsigned char *to, size_t n) {
    while (n) {
        ssize_t got = recv(from, to, n, MSG_WAITALL);
        if (got <= 0) return 0;
        to += got;
        n -= (size_t)got;
    }
    return 1;
}

static void give(int to, const unsigned char *from, size_t n) {
    while (n) {
        ssize_t sent = send(to, from, n, MSG_NOSIGNAL);
        if (sent <= 0) exit(1);
        from += sent;
        n -= (size_t)sent;
    }
}

/* One item of the acceptance: type, reserved, length, value. */
static size_t item(unsigned char *to, int type, const void *value, size_t n) {
    to[0] = (unsigned char)type;
    to[1] = 0;
    put16(to + 2, (uint16_t)n);
    memcpy(to + 4, value, n);
    return n + 4;
}

/* Answer the A-ASSOCIATE-RQ in `pdu`, whose body has n bytes: everything is accepted. */
static void accept_association(int peer, size_t n) {
    size_t out = 6 + 68, at = 68;
    unsigned char *answer = calloc(1, n + 1024), inner[512];
    memcpy(answer + 6, pdu, 68);
    while (at + 4 <= n) {
        size_t size = be16(pdu + at + 2);
        const unsigned char *value = pdu + at + 4;
        if (pdu[at] == 0x10) {
            out += item(answer + out, 0x10, value, size);
        } else if (pdu[at] == 0x20) {
            size_t abstract = be16(value + 6), syntax;
            const unsigned char *first = value + 8 + abstract;
            syntax = be16(first + 2) + 4u;
            memset(inner, 0, 4);
            inner[0] = value[0];
            memcpy(inner + 4, first, syntax);
            out += item(answer + out, 0x21, inner, syntax + 4);
        }
        at += size + 4;
    }
    unsigned char largest[4];
    put32(largest, MAX_PDU);
    size_t user = item(inner, 0x51, largest, 4);
    user += item(inner + user, 0x52, "1.2.3", 5);
    out += item(answer + out, 0x50, inner, user);
    answer[0] = 2;
    put32(answer + 2, (uint32_t)(out - 6));
    give(peer, answer, out);
    free(answer);
}

/* One element of a command set. */
static size_t element(unsigned char *to, int number, const void *value, uint32_t n) {
    unsigned char head[8] = {0, 0, (unsigned char)number, (unsigned char)(number >> 8), (unsigned char)n,
                             (unsigned char)(n >> 8), 0, 0};
    memcpy(to, head, 8);
    memcpy(to + 8, value, n);
    return n + 8;
}

/* Find an element of the command set; its length, 0 when it is not there. */
static uint32_t find(size_t size, int number, const unsigned char **value) {
    for (size_t at = 0; at + 8 <= size;) {
        uint32_t n = le32(command + at + 4);
        if (command[at + 2] == (number & 255) && command[at + 3] == number >> 8) {
            *value = command + at + 8;
            return n;
        }
        at += 8 + n;
    }
    return 0;
}

/* Answer the C-STORE-RQ in `command` with success. */
static void answer_store(int peer, int context, size_t size) {
    const unsigned char *id = NULL, *class = NULL, *instance = NULL;
    uint32_t class_size = find(size, 0x0002, &class), instance_size = find(size, 0x1000, &instance);
    if (find(size, 0x0110, &id) != 2) exit(1);
    unsigned char *set = reply + 12;
    size_t n = 12;
    n += element(set + n, 0x0002, class, class_size);
    n += element(set + n, 0x0100, "\x01\x80", 2);
    n += element(set + n, 0x0120, id, 2);
    n += element(set + n, 0x0800, "\x01\x01", 2);
    n += element(set + n, 0x0900, "\0\0", 2);
    n += element(set + n, 0x1000, instance, instance_size);
    unsigned char group[4] = {(unsigned char)(n - 12), (unsigned char)((n - 12) >> 8), 0, 0};
    element(set, 0x0000, group, 4);
    reply[0] = 4;
    reply[1] = 0;
    put32(reply + 2, (uint32_t)n + 6);
    put32(reply + 6, (uint32_t)n + 2);
    reply[10] = (unsigned char)context;
    reply[11] = 3;
    give(peer, reply, n + 12);
}

static void serve(int peer, const char *directory, int sync) {
    char temporary[TITLE], final[TITLE];
    size_t command_size = 0;
    int file = -1;
    unsigned long number = 0;
    snprintf(temporary, sizeof temporary, "%s/part-%d", directory, (int)getpid());
    unsigned char head[6];
    while (take(peer, head, 6)) {
        uint32_t size = be32(head + 2);
        if (size > LARGEST || !take(peer, pdu, size)) exit(1);
        if (head[0] == 1) {
            accept_association(peer, size);
        } else if (head[0] == 5) {
            unsigned char release[10] = {6, 0, 0, 0, 0, 4, 0, 0, 0, 0};
            give(peer, release, 10);
        } else if (head[0] != 4) {
            exit(1);
        }
        for (size_t at = 0; head[0] == 4 && at + 6 <= size;) {
            uint32_t n = be32(pdu + at) - 2;
            int context = pdu[at + 4], control = pdu[at + 5];
            const unsigned char *value = pdu + at + 6;
            at += n + 6;
            if (control & 1) {
                if (command_size + n > sizeof command) exit(1);
                memcpy(command + command_size, value, n);
                command_size += n;
                continue;
            }
            if (file < 0 && (file = open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644)) < 0) fail(temporary);
            if (write(file, value, n) != (ssize_t)n) fail("write");
            if (control & 2) {
                if (sync && fdatasync(file)) fail("fdatasync");
                close(file);
                file = -1;
                snprintf(final, sizeof final, "%s/%d-%lu", directory, (int)getpid(), number++);
                if (rename(temporary, final)) fail("rename");
                answer_store(peer, context, command_size);
                command_size = 0;
            }
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "limit PORT DIRECTORY [sync]\n"), 2;
    int listening = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listening, (struct sockaddr *)&here, sizeof here) || listen(listening, 64)) fail("listen");
    for (;;) {
        int peer = accept(listening, NULL, NULL);
        if (peer < 0) fail("accept");
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (fork() == 0) {
            close(listening);
            serve(peer, argv[2], argc > 3);
            _exit(0);
        }
        close(peer);
    }
}
