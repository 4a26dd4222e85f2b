/*
 * Single values from JSON text that is known to be well-formed: the daemon's replies and libxl's.
 * Text in a string is not mistaken for a key, since its quotes have backslashes: only a key is
 * quoted and followed by a colon.
 */
#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "number.h"

/* Return where the value of the first key of this name begins, or NULL. */
static const char *value_of(const char *text, const char *key)
{
    char quoted[64];
    const char *at = text;

    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    while ((at = strstr(at, quoted))) {
        at += strlen(quoted);
        const char *after = at + strspn(at, " \t\r\n");
        if (*after == ':')
            return after + 1 + strspn(after + 1, " \t\r\n");
    }
    return NULL;
}

bool json_number(const char *text, const char *key, int64_t *number)
{
    const char *value = value_of(text, key);
    char *end;

    if (!value)
        return false;
    *number = parse_number(value, &end);
    return end != value;
}

void json_string(const char *text, const char *key, char *copy, size_t size)
{
    const char *value = value_of(text, key);
    size_t length = 0;

    copy[0] = '\0';
    if (!value || *value++ != '"')
        return;
    while (*value && *value != '"' && length + 1 < size) {
        if (*value == '\\' && value[1])
            value++;
        copy[length++] = *value++;
    }
    copy[length] = '\0';
}
