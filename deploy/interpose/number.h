/* Decimal numbers in text. */
#ifndef MAXMEM_NUMBER_H
#define MAXMEM_NUMBER_H

/* Parse a decimal number as strtoll does; errno is ERANGE if it is too large or too small. */
long long parse_number(const char *text, char **end);

#endif
