/* With _GNU_SOURCE, glibc's headers since 2.38 turn strtoll into __isoc23_strtoll, which an older glibc
   lacks. A library that was built on Debian 13 has to load on Debian 12. */
#undef _GNU_SOURCE
#define _DEFAULT_SOURCE
#include "number.h"

#include <stdlib.h>

long long parse_number(const char *text, char **end)
{
    return strtoll(text, end, 10);
}
