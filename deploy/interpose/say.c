/* Messages on stderr: one write() for each line, so that threads do not mix theirs. */
#include "say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void say(const char *format, ...)
{
    int before = errno;
    char line[1024] = "maxmemd: ";
    size_t head = strlen(line);
    va_list words;

    va_start(words, format);
    vsnprintf(line + head, sizeof line - head - 1, format, words);
    va_end(words);

    size_t length = strlen(line);
    line[length] = '\n';
    ssize_t written = write(STDERR_FILENO, line, length + 1);
    (void)written; /* there is no other place to report a failure */
    errno = before;
}
