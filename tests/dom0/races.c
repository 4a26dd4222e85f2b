/*
 * Many writers at once, with the real libxenlight and libxenctrl: `races MODE COUNT DOMID...`
 * max: libxl_domain_setmaxmem, set: libxl_set_memory_target, bump: what QEMU 2.3 did, for each
 * domain by a process of its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libxl.h>

#include "reads.h"

#define MIB 1024

static int bump(xc_interface *xch, uint32_t domid)
{
    struct pages now;

    if (read_pages(xch, domid, &now))
        return -1;
    return xc_domain_setmaxmem(xch, domid, (now.most + 1) * KIB_OF_PAGE);
}

static int write_one(const char *mode, libxl_ctx *context, xc_interface *xch, uint32_t domid)
{
    if (!strcmp(mode, "max"))
        return libxl_domain_setmaxmem(context, domid, (256 + rand() % 64) * MIB);
    if (!strcmp(mode, "set"))
        return libxl_set_memory_target(context, domid, (100 + rand() % 28) * MIB, 0, 1);
    return bump(xch, domid);
}

static int writer(const char *mode, int count, uint32_t domid)
{
    xentoollog_logger *logger = (void *)xtl_createlogger_stdiostream(stderr, XTL_ERROR, 0);
    libxl_ctx *context = NULL;
    xc_interface *xch = xc_interface_open(NULL, NULL, 0);
    int failed = 0;

    srand((unsigned)getpid());
    if (!xch || libxl_ctx_alloc(&context, LIBXL_VERSION, 0, logger))
        return 100;
    for (int i = 0; i < count; i++)
        failed += write_one(mode, context, xch, domid) != 0;
    libxl_ctx_free(context);
    xc_interface_close(xch);
    return failed > 99 ? 99 : failed;
}

int main(int words, char **word)
{
    int status, failed = 0;

    for (int i = 3; i < words; i++)
        if (fork() == 0)
            _exit(writer(word[1], atoi(word[2]), (uint32_t)atoi(word[i])));
    while (wait(&status) > 0)
        failed += WIFEXITED(status) ? WEXITSTATUS(status) : 100;
    printf("%d failed\n", failed);
    return failed != 0;
}
