/* Options, the order of events, and what is printed: one object of JSON. */
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "load.h"

struct options options = {
    .host = "127.0.0.1", .bind_host = "127.0.0.1", .cpu = -1, .size = 64, .warm = 0.3, .seconds = 1, .patience = 60,
};
struct tally tally;
struct samples request_times, open_times;

static void read_options(int count, char **words)
{
    static const struct option known[] = {
        {"host", 1, 0, 'h'},  {"port", 1, 0, 'p'},    {"bind-host", 1, 0, 'H'}, {"bind-port", 1, 0, 'P'},
        {"bulk", 1, 0, 'b'},  {"request", 1, 0, 'r'}, {"churn", 1, 0, 'c'},     {"idle", 1, 0, 'i'},
        {"size", 1, 0, 's'},  {"warm", 1, 0, 'w'},    {"seconds", 1, 0, 't'},   {"patience", 1, 0, 'a'},
        {"cpu", 1, 0, 'C'},   {"pid", 1, 0, 'x'},     {"server-net", 1, 0, 'n'}, {"hold", 0, 0, 'o'},
        {"spread", 0, 0, 'S'}, {"pace", 1, 0, 'e'},     {0},
    };
    int letter;
    while ((letter = getopt_long(count, words, "", known, NULL)) != -1) {
        switch (letter) {
        case 'h': options.host = optarg; break;
        case 'p': options.port = atoi(optarg); break;
        case 'H': options.bind_host = optarg; break;
        case 'P': options.bind_port = atoi(optarg); break;
        case 'b': options.many[BULK] = atoi(optarg); break;
        case 'r': options.many[REQUEST] = atoi(optarg); break;
        case 'c': options.many[CHURN] = atoi(optarg); break;
        case 'i': options.many[IDLE] = atoi(optarg); break;
        case 's': options.size = (size_t)atol(optarg); break;
        case 'w': options.warm = atof(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'a': options.patience = atof(optarg); break;
        case 'e': options.pace = atof(optarg); break;
        case 'C': options.cpu = atoi(optarg); break;
        case 'n': options.server_net = optarg; break;
        case 'o': options.hold = true; break;
        case 'S': options.spread = true; break;
        case 'x': options_watch(atoi(optarg)); break;
        default: exit(2);
        }
    }
    if ((!options.port && !options.bind_port) || !options.size)
        fail("--port or --bind-port, and a --size above 0 are needed");
}

static void run_for(double seconds)
{
    for (double until = now_s() + seconds, left; (left = until - now_s()) > 0;)
        connections_turn(options.pace > 0 || left < 0.01 ? 1 : 10);
}

static void print_figures(double seconds, const struct usage *before, const struct usage *after)
{
    struct shares shares = connections_shares();
    printf("{\"seconds\": %.6f, \"bytes\": %llu, \"jain\": %.4f, \"least_bytes\": %.0f, \"most_bytes\": %.0f", seconds,
           (unsigned long long)tally.bytes, shares.jain, shares.least, shares.most);
    printf(", \"requests\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"most_us\": %.1f",
           (unsigned long long)tally.requests, samples_us(&request_times, 0.5), samples_us(&request_times, 0.99),
           samples_us(&request_times, 0.999), samples_us(&request_times, 1));
    printf(", \"opens\": %llu, \"open_p50_us\": %.1f, \"open_p99_us\": %.1f", (unsigned long long)tally.opens,
           samples_us(&open_times, 0.5), samples_us(&open_times, 0.99));
    usage_print(before, after, seconds);
}

int main(int count, char **words)
{
    read_options(count, words);
    run_on_cpu(options.cpu);
    connections_start();
    double deadline = now_s() + options.patience, began = now_s();
    while (!connections_proven()) {
        connections_turn(10);
        if (now_s() > deadline)
            fail("not all connections came through in %.0f s", options.patience);
    }
    if (options.hold) {
        printf("{\"held\": %d, \"opening_s\": %.3f}\n", options.many[IDLE], now_s() - began);
        fflush(stdout);
        for (struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN}; poll(&input, 1, 0) == 0;)
            connections_turn(50);
        return 0;
    }
    connections_go();
    run_for(options.warm);
    connections_mark();
    struct usage before = usage_now();
    began = now_s();
    run_for(options.seconds);
    double seconds = now_s() - began;
    struct usage after = usage_now();
    print_figures(seconds, &before, &after);
    return 0;
}
