/* Linked instead of CUDA's libraries, so that clipclass starts without them: cuInit, which comes before anything else, looks
 * for them and fails where there are none, as it does without a card. candle 0.11 has cudarc link the libraries only in the
 * ordinary way, which ends such a process before its first line.
 *
 * libraries.h lists what they export: FUNCTION(library, name). Each function is a jump to an address that cuInit fills in. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* CUresult's; to every other library a status that is not 0 is a failure, too. */
enum { NO_DEVICE = 100, SHARED_OBJECT_INIT_FAILED = 303 };

static int unavailable(void) { return NO_DEVICE; }

#define FUNCTION(library, name)                                                                           \
    __attribute__((used, visibility("hidden"))) void *address_of_##name = (void *)unavailable;            \
    __asm__(".pushsection .text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"              \
            "jmp *address_of_" #name "(%rip)\n.popsection\n");
#include "libraries.h"
#undef FUNCTION

#define FUNCTION(library, name) {library, #name, &address_of_##name},
static const struct {
    const char *library, *name;
    void **address;
} functions[] = {
#include "libraries.h"
};

static const char DRIVER[] = "libcuda.so.1";

/* Where the system looks, where NVIDIA's installer puts the libraries, and where pip does in the environment that clipclass is in. */
static void *load(const char *library) {
    void *loaded = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
    char program[PATH_MAX] = "", pattern[2 * PATH_MAX];
    if (loaded || strcmp(library, DRIVER) == 0 || readlink("/proc/self/exe", program, sizeof program - 1) < 0) return loaded;
    *strrchr(program, '/') = 0;
    const char *folders[] = {"/usr/local/cuda-13*/lib64", "/usr/local/cuda/lib64", "%s/../lib/python3*/*-packages/nvidia/cu13/lib"};
    for (size_t folder = 0; !loaded && folder < sizeof folders / sizeof *folders; folder++) {
        char path[PATH_MAX + 64];
        glob_t found;
        snprintf(path, sizeof path, folders[folder], program);
        snprintf(pattern, sizeof pattern, "%s/%s", path, library);
        if (glob(pattern, 0, NULL, &found)) continue;
        for (size_t i = 0; !loaded && i < found.gl_pathc; i++) loaded = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_GLOBAL);
        globfree(&found);
    }
    return loaded;
}

static int (*driver_init)(unsigned flags);
static int complete = 1;

static void load_all(void) {
    void *driver = load(DRIVER);
    if (!driver) return;
    const char *library = NULL;
    void *loaded = NULL;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (functions[i].library != library && (!library || strcmp(functions[i].library, library))) {
            loaded = load(functions[i].library);
            complete &= loaded != NULL;
        }
        library = functions[i].library;
        void *address = loaded ? dlsym(loaded, functions[i].name) : NULL;
        if (address) *functions[i].address = address;
    }
    *(void **)&driver_init = dlsym(driver, "cuInit");
}

int cuInit(unsigned flags) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_all);
    if (!driver_init) return NO_DEVICE;
    int status = driver_init(flags);
    return status || complete ? status : SHARED_OBJECT_INIT_FAILED;
}
