/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * biotrust_driver.h: a biotrust driver in C, in one file.
 *
 * Include it where you need the declarations; in ONE source file define BIOTRUST_DRIVER_IMPLEMENTATION before. Needs C11,
 * POSIX threads and nothing else:   cc -std=c11 -pthread my_driver.c
 *
 * Fill a biotrust_driver with functions and call biotrust_serve() from main(). The service (or systemd) starts your
 * program with a listening Unix socket as its standard input and it ends when the service goes. Whatever you say on
 * standard error is in the service's log: never images, keys or names of people.
 *
 * Each device has a thread that works and a thread that reads what the service wants, so that calls into your SDK may
 * block. A call that is two seconds over its time makes the library stop answering the service, which then ends the
 * process and starts it again: the devices are back within about a second.
 *
 * The protocol on the socket: docs/developers/vendor-drivers.md. Try your driver: biotrust driver check -- ./my_driver
 */
#ifndef BIOTRUST_DRIVER_H
#define BIOTRUST_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the protocol. */
#define BIOTRUST_DRIVER_PROTOCOL 1
/* Longest text, in bytes. */
#define BIOTRUST_MAX_TEXT 256

enum biotrust_modality { BIOTRUST_FINGER = 1, BIOTRUST_FACE = 2, BIOTRUST_IRIS = 3 };
enum biotrust_purpose { BIOTRUST_REGISTRATION = 1, BIOTRUST_AUTH = 2 };

/* What your functions return: BIOTRUST_OK, or what went wrong, with a sentence for a technician in `why`. */
enum biotrust_result {
    BIOTRUST_OK = -1,
    BIOTRUST_INTERNAL = 0,
    BIOTRUST_GONE = 1,      /* unplugged */
    BIOTRUST_NOT_READY = 2, /* cannot work now */
    BIOTRUST_BUSY = 3       /* somebody else uses it */
};

/* How the service talks to a device. */
enum biotrust_speech {
    BIOTRUST_SENSOR = 0, /* look() and status(): a plain sensor, level L0 */
    BIOTRUST_LINK = 1    /* the device itself speaks the link protocol: carry() moves the bytes */
};

/* What you say of a sensor. No member may be empty; copy long texts into storage that lives as long as the device. */
typedef struct biotrust_info {
    enum biotrust_modality modality;
    enum biotrust_purpose purpose;
    const char *make;
    const char *model;
    const char *serial;
    const char *provider;
    const char *provider_id;
    const char *firmware;
} biotrust_info;

/* What a sensor saw. An iris and a finger are 8-bit grey, dark ridges on a light ground, upright; a face is RGB, three
 * bytes for each pixel. Rows from the top, without padding. */
typedef struct biotrust_sight {
    int seen;        /* 0: nothing was presented; else the modality of the device */
    uint16_t width;  /* pixels */
    uint16_t height; /* pixels */
    uint16_t dpi;    /* fingers: pixels per inch, 100 to 2000 */
    uint16_t pupil[3];  /* irises: centre x, centre y, radius in pixels */
    uint16_t limbus[3]; /* and of its outer edge; without them an eye is shown and never captured */
    uint8_t *pixels; /* from malloc(); the library wipes and frees it */
} biotrust_sight;

typedef struct biotrust_watch biotrust_watch;
typedef struct biotrust_cancel biotrust_cancel;

/* A device is there. `name` is to be the same whenever the same device is there: its serial number is best. */
void biotrust_present(biotrust_watch *watch, const char *name, enum biotrust_speech speech);
/* It is gone. */
void biotrust_absent(biotrust_watch *watch, const char *name);
/* All devices that were there at the start have been told. */
void biotrust_listed(biotrust_watch *watch);
/* Sleeps until the service has gone (1: return from watch() then) or `ms` milliseconds are over (0). */
int biotrust_wait(biotrust_watch *watch, unsigned ms);
/* Whether a look has been called off: come back at once with seen = 0. */
int biotrust_is_cancelled(const biotrust_cancel *cancel);

typedef struct biotrust_driver {
    const char *name;
    const char *release; /* version of your driver */
    /* Tells what devices are there, then what comes and goes, until biotrust_wait() answers 1. */
    void (*watch)(void *self, biotrust_watch *watch);
    /* Opens a device that is there: put what you need for it into *device. `info` is for a sensor. */
    int (*open)(void *self, const char *name, void **device, enum biotrust_speech *speech, biotrust_info *info,
                char *why, size_t why_size);
    /* Closes it. */
    void (*close)(void *device);
    /* Looks once: what is presented within `within_ms`, as soon as something is. */
    int (*look)(void *device, unsigned within_ms, const biotrust_cancel *cancel, biotrust_sight *sight, char *why,
                size_t why_size);
    /* How it is: BIOTRUST_NOT_READY with the reason while it cannot work. May be NULL: always well. */
    int (*status)(void *device, char *why, size_t why_size);
    /* Nobody will look for a while: lights off. May be NULL. */
    void (*rest)(void *device);
    /* BIOTRUST_LINK: carries bytes both ways between `fd` and the device; returns when either has gone. May be NULL. */
    void (*carry)(void *device, int fd);
} biotrust_driver;

/* Serves at the socket that is the standard input. Returns 0 when the service has gone, 1 with a word on standard error
 * when the standard input is no listening socket: return it from main(). */
int biotrust_serve(const biotrust_driver *driver, void *self);

#ifdef __cplusplus
}
#endif

#ifdef BIOTRUST_DRIVER_IMPLEMENTATION

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Orders are short: the longest is OPEN. */
#define BT_MAX_ORDER 1024
#define BT_GRACE_MS 2000
#define BT_SHORT_MS 2000
#define BT_JOBS 64
/* Orders that may wait: the service does not wait for a look that it has called off, and gives the next. */
#define BT_ORDERS 8

struct biotrust_cancel {
    atomic_int set;
};

typedef struct bt_process {
    const biotrust_driver *driver;
    void *self;
    int over[2]; /* a pipe: written when the one who watched has gone */
    pthread_mutex_t jobs_lock;
    uint64_t jobs[BT_JOBS]; /* deadlines in ms, 0: free */
} bt_process;

typedef struct bt_line {
    int fd;
    pthread_mutex_t lock;
} bt_line;

struct biotrust_watch {
    bt_process *process;
    bt_line *line;
    int ended[2];
};

static uint64_t bt_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* -1 when there is no room: then nothing is watched over, and the service's own limits hold. */
static int bt_begin(bt_process *process, unsigned within_ms) {
    int slot = -1;
    pthread_mutex_lock(&process->jobs_lock);
    for (int i = 0; i < BT_JOBS; i++) {
        if (process->jobs[i] == 0) {
            process->jobs[i] = bt_now() + within_ms + BT_GRACE_MS;
            slot = i;
            break;
        }
    }
    pthread_mutex_unlock(&process->jobs_lock);
    return slot;
}

static void bt_end(bt_process *process, int slot) {
    if (slot < 0) return;
    pthread_mutex_lock(&process->jobs_lock);
    process->jobs[slot] = 0;
    pthread_mutex_unlock(&process->jobs_lock);
}

/* Tells systemd's watchdog, where there is one, that all is well. */
static void bt_notify(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    if (path == NULL || strlen(path) >= sizeof address.sun_path) return;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path, strlen(path));
    if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0) return;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    (void)!sendto(fd, "WATCHDOG=1", 10, MSG_NOSIGNAL, (struct sockaddr *)&address, length);
    close(fd);
}

static int bt_is_well(bt_process *process) {
    int well = 1;
    uint64_t now = bt_now();
    pthread_mutex_lock(&process->jobs_lock);
    for (int i = 0; i < BT_JOBS; i++) {
        if (process->jobs[i] != 0 && now >= process->jobs[i]) well = 0;
    }
    pthread_mutex_unlock(&process->jobs_lock);
    if (well) bt_notify();
    return well;
}

static int bt_read_all(int fd, uint8_t *bytes, size_t length) {
    while (length > 0) {
        ssize_t n = read(fd, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        bytes += n;
        length -= (size_t)n;
    }
    return 1;
}

static int bt_write_all(int fd, const uint8_t *bytes, size_t length) {
    while (length > 0) {
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        bytes += n;
        length -= (size_t)n;
    }
    return 1;
}

/* A frame that is being written; `pixels` follow the head. */
typedef struct bt_frame {
    uint8_t head[4 + 2048];
    size_t length;
    const uint8_t *pixels;
    size_t pixels_length;
} bt_frame;

static void bt_u8(bt_frame *frame, uint8_t value) {
    if (frame->length < sizeof frame->head) frame->head[frame->length++] = value;
}

static void bt_u16(bt_frame *frame, uint16_t value) {
    bt_u8(frame, (uint8_t)value);
    bt_u8(frame, (uint8_t)(value >> 8));
}

static void bt_u32(bt_frame *frame, uint32_t value) {
    bt_u16(frame, (uint16_t)value);
    bt_u16(frame, (uint16_t)(value >> 16));
}

/* Cut to BIOTRUST_MAX_TEXT bytes, at the start of a character. */
static void bt_text(bt_frame *frame, const char *text) {
    size_t length = text == NULL ? 0 : strlen(text);
    if (length > BIOTRUST_MAX_TEXT) {
        length = BIOTRUST_MAX_TEXT;
        while (length > 0 && ((uint8_t)text[length] & 0xC0u) == 0x80u) length--;
    }
    bt_u16(frame, (uint16_t)length);
    for (size_t i = 0; i < length; i++) bt_u8(frame, (uint8_t)text[i]);
}

static void bt_start(bt_frame *frame, uint8_t type) {
    memset(frame, 0, sizeof *frame);
    frame->length = 4;
    bt_u8(frame, type);
}

static int bt_say(bt_line *line, bt_frame *frame) {
    uint32_t length = (uint32_t)(frame->length - 4 + frame->pixels_length);
    for (int i = 0; i < 4; i++) frame->head[i] = (uint8_t)(length >> (8 * i));
    pthread_mutex_lock(&line->lock);
    int ok = bt_write_all(line->fd, frame->head, frame->length) &&
             bt_write_all(line->fd, frame->pixels, frame->pixels_length);
    /* What follows half a frame would be taken for the rest of it. */
    if (!ok) (void)shutdown(line->fd, SHUT_RDWR);
    pthread_mutex_unlock(&line->lock);
    return ok;
}

static void bt_say_text(bt_line *line, uint8_t type, int first, const char *text) {
    bt_frame frame;
    bt_start(&frame, type);
    if (first >= 0) bt_u8(&frame, (uint8_t)first);
    bt_text(&frame, text);
    (void)bt_say(line, &frame);
}

void biotrust_present(biotrust_watch *watch, const char *name, enum biotrust_speech speech) {
    bt_say_text(watch->line, 0x82, (int)speech, name);
}

void biotrust_absent(biotrust_watch *watch, const char *name) { bt_say_text(watch->line, 0x83, -1, name); }

void biotrust_listed(biotrust_watch *watch) {
    bt_frame frame;
    bt_start(&frame, 0x84);
    (void)bt_say(watch->line, &frame);
}

int biotrust_wait(biotrust_watch *watch, unsigned ms) {
    struct pollfd set = {.fd = watch->ended[0], .events = POLLIN};
    uint64_t end = bt_now() + ms;
    for (;;) {
        uint64_t now = bt_now();
        int n = poll(&set, 1, now >= end ? 0 : (int)(end - now));
        if (n > 0) return 1;
        if (n == 0 || errno != EINTR) return 0;
    }
}

int biotrust_is_cancelled(const biotrust_cancel *cancel) { return atomic_load(&cancel->set); }

/* Reads an order: its length without the type, or -1 when the service has gone or speaks another language. */
static int bt_order(int fd, uint8_t *type, uint8_t body[BT_MAX_ORDER]) {
    uint8_t head[5];
    if (!bt_read_all(fd, head, sizeof head)) return -1;
    uint32_t length = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
    if (length < 1 || length > BT_MAX_ORDER) return -1;
    *type = head[4];
    return bt_read_all(fd, body, length - 1) ? (int)(length - 1) : -1;
}

static uint32_t bt_number(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* What a device is to do. Each look is called off by itself. */
typedef struct bt_task {
    uint8_t type;
    uint32_t id, within_ms;
    biotrust_cancel cancel;
} bt_task;

/* One device, and what it is to do: `first` is being done, or next; it leaves the queue when it is done. */
typedef struct bt_device {
    bt_process *process;
    bt_line *line;
    void *device;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int over;
    unsigned first, count;
    bt_task tasks[BT_ORDERS];
} bt_device;

static void bt_failed(bt_line *line, uint32_t id, int result, const char *why) {
    bt_frame frame;
    bt_start(&frame, 0x9F);
    bt_u32(&frame, id);
    bt_u8(&frame, (uint8_t)(result < 0 || result > 3 ? 0 : result));
    bt_text(&frame, why);
    (void)bt_say(line, &frame);
}

static void bt_look(bt_device *d, const bt_task *task) {
    uint32_t id = task->id, within_ms = task->within_ms;
    const biotrust_driver *driver = d->process->driver;
    char why[BIOTRUST_MAX_TEXT + 1] = "";
    biotrust_sight sight;
    memset(&sight, 0, sizeof sight);
    int job = bt_begin(d->process, within_ms);
    int result = driver->look(d->device, within_ms, &task->cancel, &sight, why, sizeof why);
    bt_end(d->process, job);
    why[sizeof why - 1] = '\0';
    if (result != BIOTRUST_OK) {
        bt_failed(d->line, id, result, why);
    } else {
        bt_frame frame;
        bt_start(&frame, 0x91);
        bt_u32(&frame, id);
        bt_u8(&frame, (uint8_t)(sight.seen && sight.pixels != NULL ? sight.seen : 0));
        if (sight.seen && sight.pixels != NULL) {
            size_t depth = sight.seen == BIOTRUST_FACE ? 3 : 1;
            bt_u16(&frame, sight.width);
            bt_u16(&frame, sight.height);
            bt_u16(&frame, sight.seen == BIOTRUST_FINGER ? sight.dpi : 0);
            for (int i = 0; sight.seen == BIOTRUST_IRIS && i < 3; i++) bt_u16(&frame, sight.pupil[i]);
            for (int i = 0; sight.seen == BIOTRUST_IRIS && i < 3; i++) bt_u16(&frame, sight.limbus[i]);
            frame.pixels = sight.pixels;
            frame.pixels_length = (size_t)sight.width * sight.height * depth;
        }
        (void)bt_say(d->line, &frame);
    }
    if (sight.pixels != NULL) {
        size_t length = (size_t)sight.width * sight.height * (sight.seen == BIOTRUST_FACE ? 3u : 1u);
        volatile uint8_t *wipe = sight.pixels;
        for (size_t i = 0; i < length; i++) wipe[i] = 0;
        free(sight.pixels);
    }
}

static void bt_status(bt_device *d, uint32_t id) {
    const biotrust_driver *driver = d->process->driver;
    char why[BIOTRUST_MAX_TEXT + 1] = "";
    int job = bt_begin(d->process, BT_SHORT_MS);
    int result = driver->status == NULL ? BIOTRUST_OK : driver->status(d->device, why, sizeof why);
    bt_end(d->process, job);
    why[sizeof why - 1] = '\0';
    if (result != BIOTRUST_OK && result != BIOTRUST_NOT_READY) {
        bt_failed(d->line, id, result, why);
        return;
    }
    bt_frame frame;
    bt_start(&frame, 0x90);
    bt_u32(&frame, id);
    bt_u8(&frame, result == BIOTRUST_OK);
    bt_text(&frame, result == BIOTRUST_OK ? "" : why);
    (void)bt_say(d->line, &frame);
}

static void *bt_work(void *argument) {
    bt_device *d = argument;
    for (;;) {
        pthread_mutex_lock(&d->lock);
        while (d->count == 0 && !d->over) pthread_cond_wait(&d->changed, &d->lock);
        if (d->over) {
            pthread_mutex_unlock(&d->lock);
            return NULL;
        }
        const bt_task *task = &d->tasks[d->first];
        pthread_mutex_unlock(&d->lock);
        if (task->type == 0x11) bt_look(d, task);
        if (task->type == 0x10) bt_status(d, task->id);
        if (task->type == 0x13 && d->process->driver->rest != NULL) {
            int job = bt_begin(d->process, BT_SHORT_MS);
            d->process->driver->rest(d->device);
            bt_end(d->process, job);
        }
        pthread_mutex_lock(&d->lock);
        d->first = (d->first + 1) % BT_ORDERS;
        d->count--;
        pthread_mutex_unlock(&d->lock);
    }
}

/* Puts an order into the queue; 0 when it is full. */
static int bt_give(bt_device *d, uint8_t type, const uint8_t *body) {
    pthread_mutex_lock(&d->lock);
    int room = d->count < BT_ORDERS;
    if (room) {
        bt_task *task = &d->tasks[(d->first + d->count) % BT_ORDERS];
        task->type = type;
        task->id = type == 0x13 ? 0 : bt_number(body);
        task->within_ms = type == 0x11 ? bt_number(body + 4) : 0;
        atomic_store(&task->cancel.set, 0);
        d->count++;
        pthread_cond_signal(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    return room;
}

/* Calls off the look of this number; all of them when the service has gone. */
static void bt_call_off(bt_device *d, int all, uint32_t id) {
    pthread_mutex_lock(&d->lock);
    for (unsigned i = 0; i < d->count; i++) {
        bt_task *task = &d->tasks[(d->first + i) % BT_ORDERS];
        if (all || (task->type == 0x11 && task->id == id)) atomic_store(&task->cancel.set, 1);
    }
    if (all) {
        d->over = 1;
        pthread_cond_signal(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
}

/* Reads orders while bt_work carries them out. CANCEL, and the end of the connection, reach a look that goes on. */
static void bt_converse(bt_process *process, bt_line *line, void *device) {
    bt_device d = {.process = process, .line = line, .device = device};
    uint8_t type, body[BT_MAX_ORDER];
    int length;
    pthread_t worker;
    pthread_mutex_init(&d.lock, NULL);
    pthread_cond_init(&d.changed, NULL);
    if (pthread_create(&worker, NULL, bt_work, &d) != 0) return;
    while ((length = bt_order(line->fd, &type, body)) >= 0) {
        if (type == 0x12 && length >= 4) {
            bt_call_off(&d, 0, bt_number(body));
            continue;
        }
        if (!((type == 0x10 && length >= 4) || (type == 0x11 && length >= 8) || type == 0x13)) break;
        if (!bt_give(&d, type, body)) break;
    }
    bt_call_off(&d, 1, 0);
    pthread_join(worker, NULL);
}

static void bt_open(bt_process *process, bt_line *line, const char *name) {
    const biotrust_driver *driver = process->driver;
    char why[BIOTRUST_MAX_TEXT + 1] = "";
    enum biotrust_speech speech = BIOTRUST_SENSOR;
    biotrust_info info;
    void *device = NULL;
    memset(&info, 0, sizeof info);
    int job = bt_begin(process, BT_SHORT_MS);
    int result = driver->open(process->self, name, &device, &speech, &info, why, sizeof why);
    bt_end(process, job);
    why[sizeof why - 1] = '\0';
    if (result != BIOTRUST_OK) {
        bt_say_text(line, 0x88, result < 0 || result > 3 ? 0 : result, why);
        return;
    }
    bt_frame frame;
    bt_start(&frame, speech == BIOTRUST_LINK ? 0x87 : 0x86);
    if (speech == BIOTRUST_LINK) {
        if (bt_say(line, &frame) && driver->carry != NULL) driver->carry(device, line->fd);
    } else {
        const char *texts[] = {info.make, info.model, info.serial, info.provider, info.provider_id, info.firmware};
        bt_u8(&frame, (uint8_t)info.modality);
        bt_u8(&frame, (uint8_t)info.purpose);
        for (int i = 0; i < 6; i++) bt_text(&frame, texts[i]);
        if (bt_say(line, &frame)) bt_converse(process, line, device);
    }
    if (driver->close != NULL) driver->close(device);
}

static void *bt_tell(void *argument) {
    biotrust_watch *watch = argument;
    watch->process->driver->watch(watch->process->self, watch);
    return NULL;
}

/* Answers pings while bt_tell tells of devices. */
static void bt_watch(bt_process *process, bt_line *line) {
    biotrust_watch watch = {.process = process, .line = line};
    uint8_t type, body[BT_MAX_ORDER];
    int length;
    pthread_t teller;
    if (pipe(watch.ended) != 0) return;
    if (pthread_create(&teller, NULL, bt_tell, &watch) == 0) {
        while ((length = bt_order(line->fd, &type, body)) >= 0) {
            if (type != 0x03 || length < 4 || !bt_is_well(process)) continue;
            bt_frame frame;
            bt_start(&frame, 0x85);
            bt_u32(&frame, bt_number(body));
            (void)bt_say(line, &frame);
        }
        (void)!write(watch.ended[1], "x", 1);
        pthread_join(teller, NULL);
    }
    close(watch.ended[0]);
    close(watch.ended[1]);
}

typedef struct bt_connection {
    bt_process *process;
    int fd;
} bt_connection;

static void *bt_serve_connection(void *argument) {
    bt_connection *connection = argument;
    bt_process *process = connection->process;
    bt_line line = {.fd = connection->fd};
    uint8_t type, body[BT_MAX_ORDER];
    int length;
    struct timeval patience = {.tv_sec = 5};
    pthread_mutex_init(&line.lock, NULL);
    (void)setsockopt(line.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    free(connection);
    length = bt_order(line.fd, &type, body);
    if (length >= 2 && type == 0x01) {
        bt_frame frame;
        bt_start(&frame, 0x81);
        bt_u16(&frame, BIOTRUST_DRIVER_PROTOCOL);
        bt_text(&frame, process->driver->name);
        bt_text(&frame, process->driver->release);
        (void)bt_say(&line, &frame);
        length = bt_order(line.fd, &type, body);
        if (length >= 0 && type == 0x02) {
            bt_watch(process, &line);
            (void)!write(process->over[1], "x", 1);
        } else if (length >= 2 && type == 0x04) {
            size_t text = body[0] | (size_t)body[1] << 8;
            char name[BIOTRUST_MAX_TEXT + 1];
            if (text <= BIOTRUST_MAX_TEXT && text + 2 <= (size_t)length) {
                memcpy(name, body + 2, text);
                name[text] = '\0';
                bt_open(process, &line, name);
            }
        }
    }
    close(line.fd);
    return NULL;
}

int biotrust_serve(const biotrust_driver *driver, void *self) {
    /* Detached threads use these until the process has ended, after this function has returned. */
    static biotrust_driver functions;
    static bt_process process;
    int listening = 0;
    socklen_t size = sizeof listening;
    functions = *driver;
    process.driver = &functions;
    process.self = self;
    if (getsockopt(0, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || !listening) {
        fprintf(stderr, "%s: the standard input must be the listening socket that the service or systemd makes; "
                        "try `biotrust driver check -- THIS_PROGRAM`\n", driver->name);
        return 1;
    }
    pthread_mutex_init(&process.jobs_lock, NULL);
    if (pipe(process.over) != 0) return 1;
    for (;;) {
        struct pollfd set[2] = {{.fd = process.over[0], .events = POLLIN}, {.fd = 0, .events = POLLIN}};
        if (poll(set, 2, -1) < 0 && errno != EINTR) return 1;
        /* The process ends with all its threads: what a device still does, it does for nobody. */
        if (set[0].revents != 0) return 0;
        if (set[1].revents == 0) continue;
        int fd = accept(0, NULL, NULL);
        if (fd < 0) {
            if (errno == EINTR || errno == EAGAIN || errno == ECONNABORTED) continue;
            return 1;
        }
        bt_connection *connection = malloc(sizeof *connection);
        pthread_t thread;
        pthread_attr_t detached;
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        if (connection == NULL) {
            close(fd);
        } else {
            connection->process = &process;
            connection->fd = fd;
            if (pthread_create(&thread, &detached, bt_serve_connection, connection) != 0) {
                free(connection);
                close(fd);
            }
        }
        pthread_attr_destroy(&detached);
    }
}

#endif /* BIOTRUST_DRIVER_IMPLEMENTATION */
#endif /* BIOTRUST_DRIVER_H */
