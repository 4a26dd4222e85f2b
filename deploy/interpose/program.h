/* Which program this is. */
#ifndef MAXMEM_PROGRAM_H
#define MAXMEM_PROGRAM_H

#include <stdbool.h>

/* Return whether this process is a device model: its executable's name contains "qemu". */
bool is_device_model(void);

#endif
