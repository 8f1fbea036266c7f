/* What epoll tells of virtual descriptors. */
#include <stdlib.h>

#include "virtual.h"

void list_add(sock *self, int at) {
    if (self->list_head + self->list_count == self->list_size) {
        if (self->list_head > self->list_count) {
            for (uint32_t i = 0; i < self->list_count; i++)
                self->list[i] = self->list[self->list_head + i];
            self->list_head = 0;
        } else {
            self->list_size = self->list_size ? 2 * self->list_size : 32;
            self->list = realloc(self->list, self->list_size * sizeof(int));
        }
    }
    self->list[self->list_head + self->list_count++] = at;
}

int list_take(sock *self) {
    if (self->list_count == 0)
        return -1;
    self->list_count--;
    return self->list[self->list_head++];
}

void list_drop(sock *self, int at) {
    for (uint32_t left = self->list_count; left; left--) {
        int found = list_take(self);
        if (found != at)
            list_add(self, found);
    }
}

uint32_t sock_level(const sock *self) {
    uint32_t level = 0;
    if (self->kind == KIND_COUNTER)
        return self->counter ? EPOLLIN : 0;
    if (self->kind == KIND_LISTENER)
        return self->list_count ? EPOLLIN : 0;
    if (self->kind == KIND_DATAGRAMS)
        return EPOLLOUT | (self->packets || self->left ? EPOLLIN : 0) | (self->error ? EPOLLIN | EPOLLERR : 0);
    if (self->kind == KIND_PACKETS)
        return EPOLLOUT | (self->arrived ? EPOLLIN : 0);
    if (self->kind != KIND_STREAM || self->connecting)
        return 0;
    if (self->reset || self->error)
        return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    if (self->ready)
        level |= EPOLLIN;
    if (self->fin)
        level |= EPOLLIN | EPOLLRDHUP | (self->shut || self->pair ? EPOLLHUP : 0);
    if (self->connected && (self->peer < 0 || socks[self->peer].count < socks[self->peer].limit))
        level |= EPOLLOUT;
    return level;
}

/* Something may be ready: whoever watches it looks. */
void sock_wake(int at) {
    sock *self = &socks[at];
    if (self->application >= 0)
        application_wake(self->application);
    if (self->poll < 0 || self->queued || self->closed)
        return;
    if (self->peer >= 0 && socks[self->peer].application >= 0 && self->ready && fault_strikes(FAULT_LOST_WAKE))
        self->mask = 0;
    if (sock_level(self) & (self->mask | EPOLLERR | EPOLLHUP)) {
        self->queued = true;
        list_add(&socks[self->poll], at);
    }
}

int poll_wait(int at, struct epoll_event *events, int most) {
    sock *self = &socks[at];
    int n = 0;
    for (uint32_t left = self->list_count; left && n < most; left--) {
        int found = list_take(self);
        sock *ready = &socks[found];
        uint32_t level = sock_level(ready) & (ready->mask | EPOLLERR | EPOLLHUP);
        ready->queued = false;
        if (ready->poll != at || ready->closed || !level)
            continue;
        events[n].events = level;
        events[n++].data.ptr = ready->data;
        if (!(ready->mask & EPOLLET)) {
            ready->queued = true;
            list_add(self, found);
        }
    }
    return n;
}
