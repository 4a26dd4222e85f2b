/* Exit 1 when this program was given a descriptor beyond the first three. */
#include <fcntl.h>

int main(void)
{
    for (int fd = 3; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return 1;
    return 0;
}
