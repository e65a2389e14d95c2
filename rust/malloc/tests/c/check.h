/* What every test program needs: a check that says where it failed, and reports that can be looked at. */
#ifndef CHECK_H
#define CHECK_H
#include "haybarn.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%s:%d: %s (errno %d, \"%s\")\n", __FILE__, __LINE__, #what, errno, haybarn_error()); \
            exit(1); \
        } \
    } while (0)

static int reports;
static char last_report[512];

static inline void count_report(const char *text)
{
    reports++;
    snprintf(last_report, sizeof last_report, "%s", text);
}

static inline int all_are(const void *memory, int byte, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++)
        if (((const unsigned char *)memory)[at] != byte)
            return 0;
    return 1;
}
#endif
