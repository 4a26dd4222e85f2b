/* Single values out of JSON text. */
#ifndef MAXMEM_JSON_H
#define MAXMEM_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Read the first number of that key; false where there is none (or null). */
bool json_number(const char *text, const char *key, int64_t *number);

/* Copy the first string of that key, cut to `size`; "" where there is none. */
void json_string(const char *text, const char *key, char *copy, size_t size);

#endif
