/* Clock, quantiles, processor time from /proc, and what both loads do alike. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

_Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void options_watch(int pid)
{
    if (options.pid_count == PIDS_MAX)
        fail("at most %d processes can be watched", PIDS_MAX);
    options.pids[options.pid_count++] = pid;
}

void run_on_cpu(int cpu)
{
    if (cpu < 0)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        fail("there is no processor %d to run on", cpu);
}

double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void samples_add(struct samples *samples, double seconds)
{
    if (samples->count == samples->room) {
        samples->room = samples->room ? samples->room * 2 : 1 << 16;
        samples->tenths_us = realloc(samples->tenths_us, samples->room * sizeof *samples->tenths_us);
        if (!samples->tenths_us)
            fail("no memory for the samples");
    }
    double tenths = seconds * 1e7;
    samples->tenths_us[samples->count++] = tenths < 4e9 ? (uint32_t)tenths : UINT32_MAX;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

double samples_us(struct samples *samples, double quantile)
{
    if (samples->count == 0)
        return 0;
    qsort(samples->tenths_us, samples->count, sizeof *samples->tenths_us, compare);
    size_t at = (size_t)(quantile * (double)(samples->count - 1) + 0.5);
    return samples->tenths_us[at] / 10.0;
}

/* User and system time of a process with all its threads, those that ended included; ended: with that of processes
 * that it started, which have ended, too. */
static double pid_cpu_s(int pid, bool ended)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        fail("process %d of the gateway has ended", pid);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    /* The name is in brackets and may hold anything; fields 14 to 17 of the line are the 12th to 15th behind it. */
    char *at = strrchr(text, ')');
    unsigned long user, system;
    long ended_user, ended_system;
    if (!at || sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &user, &system,
                      &ended_user, &ended_system) != 4)
        fail("%s is not understood", path);
    double ticks = (double)(user + system) + (ended ? (double)(ended_user + ended_system) : 0);
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

/* Of what a process has started too, be it there or ended. */
static double tree_cpu_s(int pid)
{
    char path[64];
    double sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *file = fopen(path, "r");
    for (int child; file && fscanf(file, "%d", &child) == 1;)
        sum += tree_cpu_s(child);
    if (file)
        fclose(file);
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    return sum + (access(path, R_OK) ? 0 : pid_cpu_s(pid, true));
}

struct usage usage_now(void)
{
    struct usage usage = {0};
    for (int i = 0; i < options.pid_count; i++)
        usage.of_pid[i] = options.with_children ? tree_cpu_s(options.pids[i]) : pid_cpu_s(options.pids[i], false);
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    usage.own = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
                (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) * 1e-6;
    unsigned long long user, nice, system, idle, wait, irq, softirq, steal;
    FILE *file = fopen("/proc/stat", "r");
    if (!file || fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq,
                        &softirq, &steal) != 8)
        fail("/proc/stat is not understood");
    fclose(file);
    double tick = (double)sysconf(_SC_CLK_TCK);
    usage.busy = (double)(user + nice + system + irq + softirq) / tick;
    usage.stolen = (double)steal / tick;
    return usage;
}

void usage_print(const struct usage *before, const struct usage *after, double seconds)
{
    double gateways = 0;
    printf(", \"cpu_s\": {");
    for (int i = 0; i < options.pid_count; i++) {
        double used = after->of_pid[i] - before->of_pid[i];
        gateways += used;
        printf("%s\"%d\": %.2f", i ? ", " : "", options.pids[i], used);
    }
    double own = after->own - before->own, busy = after->busy - before->busy;
    double others = busy - own - gateways;
    printf("}, \"load_cores\": %.3f, \"others_cores\": %.3f, \"stolen_cores\": %.3f}\n", own / seconds,
           (others > 0 ? others : 0) / seconds, (after->stolen - before->stolen) / seconds);
}
