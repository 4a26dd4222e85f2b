/*
 * A program without any library of Xen: `loader PLUGIN WORDS...` loads a plugin for itself alone,
 * as Python does its extensions, and lets it do what the words say.
 */
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char **words)
{
    void *plugin = count > 2 ? dlopen(words[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    int (*run)(char **) = plugin ? (int (*)(char **))dlsym(plugin, "run") : NULL;

    if (!run) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    int rc = run(words + 2);
    printf("rc=%d errno=0\n", rc);
    return 0;
}
