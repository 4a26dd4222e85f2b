/* Single values from JSON text. */
#ifndef MAXMEM_JSON_H
#define MAXMEM_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Read the number of the first key of this name; return false if there is none, or null. */
bool json_number(const char *text, const char *key, int64_t *number);

/* Copy the string of the first key of this name, cut to `size`; "" if there is none. */
void json_string(const char *text, const char *key, char *copy, size_t size);

#endif
