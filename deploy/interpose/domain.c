/* What Xen says of a domain whose maximum is about to be set. */
#include "domain.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "real.h"

union buffer {
    struct domaininfo info;
    char bytes[1024]; /* the whole of it is smaller, in any version */
};

bool is_nil(const char *uuid)
{
    return uuid[strspn(uuid, "0-")] == '\0';
}

static void to_text(const uint8_t handle[16], char text[UUID_SIZE])
{
    for (int i = 0; i < 16; i++) {
        bool is_after_dash = i == 4 || i == 6 || i == 8 || i == 10;
        text += sprintf(text, is_after_dash ? "-%02x" : "%02x", handle[i]);
    }
}

struct domain domain_read(void *xch, uint32_t domid)
{
    int (*read)(void *, uint32_t, unsigned int, void *) = real_if_any("xc_domain_getinfolist");
    struct domain found = { 0 };
    union buffer buffer = { .bytes = { 0 } };
    int before = errno;

    /* It returns the first domain from this one on. */
    if (read && read(xch, domid, 1, &buffer) == 1 && buffer.info.domid == domid) {
        found.known = true;
        found.has_maximum = buffer.info.max_pages > 0;
        to_text(buffer.info.handle, found.uuid);
        if (is_nil(found.uuid))
            found.uuid[0] = '\0';
    }
    errno = before;
    return found;
}
