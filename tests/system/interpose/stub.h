/* What stub.c has of libxenctrl and libxl, and its own way to let operations end. */
#pragma once

#include <stdint.h>

struct how {
    void (*callback)(void *context, int rc, void *for_callback);
    void *for_callback;
};

int xc_domain_setmaxmem(void *xch, uint32_t domid, uint64_t max_memkb);
int xc_domain_populate_physmap_exact(void *xch, uint32_t domid, unsigned long extents,
                                     unsigned int order, unsigned int flags, void *start);
int libxl_ctx_alloc(void **context, int version, unsigned flags, void *logger);
int libxl_ctx_free(void *context);
int libxl_domain_setmaxmem(void *context, uint32_t domid, uint64_t max_memkb);
int libxl_set_memory_target(void *context, uint32_t domid, int64_t kib, int relative, int enforce);
int libxl_domain_create_new(void *context, void *config, uint32_t *domid, const struct how *how, const void *console);
int libxl_domain_create_restore(void *context, void *config, uint32_t *domid, int fd, int back,
                                const void *params, const struct how *how, const void *console);
void stub_poll(void *context);
