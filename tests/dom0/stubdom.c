/* Plays the device model in a stub domain: does in xenstore, with a guest's own rights, what the
 * test asks for in data/do ("SEQ write PATH VALUE", "SEQ read PATH", "SEQ rm PATH"), and says in
 * data/done how it ended ("SEQ OK VALUE", or "SEQ EACCES"). /dev/xen/xenbus takes whole messages
 * of xen/include/public/io/xs_wire.h.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ = 2, WRITE = 11, RM = 13, ERROR = 16, MOST = 4096 };

struct message {
    uint32_t type, request, transaction, length;
    char body[MOST + 1];
};

static int xenbus;

static void all(int is_write, char *data, size_t left)
{
    while (left > 0) {
        ssize_t done = is_write ? write(xenbus, data, left) : read(xenbus, data, left);
        if (done <= 0) {
            perror("stubdom: /dev/xen/xenbus");
            exit(1);
        }
        data += done;
        left -= (size_t)done;
    }
}

/* Send one request; its answer takes its place, ended by a NUL. */
static void ask(struct message *m, uint32_t type, const char *path, const char *value)
{
    size_t head = strlen(path) + 1, size = value == NULL ? 0 : strlen(value);
    if (head + size > MOST) {
        fprintf(stderr, "stubdom: a message too long\n");
        exit(1);
    }
    m->type = type;
    m->request = m->transaction = 0;
    m->length = (uint32_t)(head + size);
    memcpy(m->body, path, head);
    memcpy(m->body + head, value == NULL ? "" : value, size);
    all(1, (char *)m, offsetof(struct message, body) + m->length);
    all(0, (char *)m, offsetof(struct message, body));
    if (m->length > MOST) {
        fprintf(stderr, "stubdom: an answer too long\n");
        exit(1);
    }
    all(0, m->body, m->length);
    m->body[m->length] = '\0';
}

/* Do what is asked, and say how it ended. */
static void obey(char *words, char *done, size_t size)
{
    static struct message m;
    char *seq = strtok(words, " "), *verb = strtok(NULL, " "), *path = strtok(NULL, " ");
    char *value = strtok(NULL, "");
    if (seq == NULL || verb == NULL || path == NULL) {
        snprintf(done, size, "? EINVAL");
        return;
    }
    uint32_t type = strcmp(verb, "write") == 0 ? WRITE : strcmp(verb, "rm") == 0 ? RM : READ;
    ask(&m, type, path, type == WRITE && value == NULL ? "" : value);
    if (m.type == ERROR)
        snprintf(done, size, "%s %s", seq, m.body);
    else
        snprintf(done, size, "%s OK %s", seq, type == READ ? m.body : "");
}

int main(void)
{
    static struct message m;
    static char words[MOST + 1], last[MOST + 1], done[MOST + 64];
    xenbus = open("/dev/xen/xenbus", O_RDWR);
    if (xenbus < 0) {
        perror("stubdom: /dev/xen/xenbus");
        return 1;
    }
    ask(&m, WRITE, "data/done", "ready");
    for (;;) {
        ask(&m, READ, "data/do", NULL);
        if (m.type != ERROR && strcmp(m.body, last) != 0) {
            strcpy(last, m.body);
            strcpy(words, m.body);
            obey(words, done, sizeof done);
            ask(&m, WRITE, "data/done", done);
        }
        usleep(100000);
    }
}
