/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * A driver in C for a fingerprint sensor that is not there: it draws ridges. Build it with
 *     cc -std=c11 -D_POSIX_C_SOURCE=200809L -pthread -I drivers/vendor/include drivers/vendor/examples/c/synthetic.c -lm
 * and try it with
 *     biotrust driver check -- ./a.out
 *
 * For tests the device does something wrong, if it is told so as an argument: --crash and --hang in the third look. With
 * --slow nothing is ever presented, and it looks only every 300 ms whether it is called off.
 */
#define BIOTRUST_DRIVER_IMPLEMENTATION
#include "biotrust_driver.h"

#include <math.h>

#define WIDTH 320
#define HEIGHT 400

typedef struct sensor {
    const char *fault;
    int looks;
} sensor;

static void watch(void *self, biotrust_watch *watch) {
    (void)self;
    /* A real driver asks its SDK here, and tells what its hot-plug callback brings. */
    biotrust_present(watch, "SYN-0001", BIOTRUST_SENSOR);
    biotrust_listed(watch);
    while (!biotrust_wait(watch, 1000)) {
    }
}

static int open_sensor(void *self, const char *name, void **device, enum biotrust_speech *speech, biotrust_info *info,
                       char *why, size_t why_size) {
    if (strcmp(name, "SYN-0001") != 0) {
        snprintf(why, why_size, "there is no device %s", name);
        return BIOTRUST_GONE;
    }
    sensor *s = calloc(1, sizeof *s);
    if (s == NULL) return BIOTRUST_INTERNAL;
    s->fault = self;
    *device = s;
    *speech = BIOTRUST_SENSOR;
    *info = (biotrust_info){
        .modality = BIOTRUST_FINGER,
        .purpose = BIOTRUST_AUTH,
        .make = "Example",
        .model = "Synthetic",
        .serial = "SYN-0001",
        .provider = "Example Devices",
        .provider_id = "EXAMPLE",
        .firmware = "1.0",
    };
    return BIOTRUST_OK;
}

static int look(void *device, unsigned within_ms, const biotrust_cancel *cancel, biotrust_sight *sight, char *why,
                size_t why_size) {
    sensor *s = device;
    s->looks++;
    if (s->looks >= 3 && strcmp(s->fault, "--crash") == 0) abort();
    if (s->looks >= 3 && strcmp(s->fault, "--hang") == 0)
        for (;;) pause();
    if (strcmp(s->fault, "--slow") == 0) {
        for (unsigned ms = 0; ms < within_ms && !biotrust_is_cancelled(cancel); ms += 300)
            nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        return BIOTRUST_OK;
    }
    if (biotrust_is_cancelled(cancel)) return BIOTRUST_OK;
    sight->pixels = malloc(WIDTH * HEIGHT);
    if (sight->pixels == NULL) {
        snprintf(why, why_size, "no memory for an image");
        return BIOTRUST_INTERNAL;
    }
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            /* Ridges every 9 pixels around a core, in an oval. */
            double dx = x - WIDTH / 2.0, dy = y - HEIGHT / 2.0;
            double ridge = 128.0 + 100.0 * sin(sqrt(dx * dx + dy * dy * 0.7) * 6.2831853 / 9.0);
            int inside = dx * dx / (150.0 * 150.0) + dy * dy / (190.0 * 190.0) < 1.0;
            sight->pixels[y * WIDTH + x] = inside ? (uint8_t)ridge : 255;
        }
    }
    sight->seen = BIOTRUST_FINGER;
    sight->width = WIDTH;
    sight->height = HEIGHT;
    sight->dpi = 500;
    return BIOTRUST_OK;
}

static void close_sensor(void *device) { free(device); }

int main(int argc, char **argv) {
    const biotrust_driver driver = {
        .name = "synthetic",
        .release = "1.0",
        .watch = watch,
        .open = open_sensor,
        .close = close_sensor,
        .look = look,
    };
    return biotrust_serve(&driver, argc > 1 ? argv[1] : "");
}
