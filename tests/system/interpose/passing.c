/* A library that is loaded and unloaded. */
int passing(void);

int passing(void)
{
    return 0;
}
