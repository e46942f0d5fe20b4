/* The framing of PROTOCOL.md, and what else agent.c and tool.c share. */
#ifndef PYRO_FRAMES_H
#define PYRO_FRAMES_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum {
    END_MARK = 0xA7,
    HEADER_SIZE = 5,
    FIELD_SIZE = 5,
    NUMBER_SIZE = 8,
    MAX_PAYLOAD = 1 << 20,
    MAX_FRAME = HEADER_SIZE + MAX_PAYLOAD + 1,
};

/* A frame in a buffer. The payload and the end mark behind it may be changed in place. */
struct frame {
    uint8_t type;
    uint8_t *payload;
    size_t size;
};

struct field {
    uint8_t tag;
    uint8_t *data;
    size_t size;
};

/* Returns the size at the beginning of a header or field. */
static inline uint32_t size_at(const uint8_t *at) {
    uint32_t size;
    memcpy(&size, at, sizeof size);
    return le32toh(size);
}

static inline uint64_t number_at(const uint8_t *at) {
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return le64toh(number);
}

/* Reads the field at `*position` and moves on. Returns false at the end of the payload, and at a malformed field, where
 * `*position` stays short of the end. */
static inline bool next_field(const struct frame *frame, size_t *position, struct field *field) {
    if (frame->size - *position < FIELD_SIZE)
        return false;
    uint8_t *at = frame->payload + *position;
    *field = (struct field){ at[0], at + FIELD_SIZE, size_at(at + 1) };
    if (field->size > frame->size - *position - FIELD_SIZE)
        return false;
    *position += FIELD_SIZE + field->size;
    return true;
}

/* Writes a field; returns the first byte after it. */
static inline uint8_t *write_field(uint8_t *at, uint8_t tag, const void *data, size_t size) {
    uint32_t little = htole32(size);
    at[0] = tag;
    memcpy(at + 1, &little, sizeof little);
    memcpy(at + FIELD_SIZE, data, size);
    return at + FIELD_SIZE + size;
}

/* Writes a field that holds a number; returns the first byte after it. */
static inline uint8_t *write_number(uint8_t *at, uint8_t tag, uint64_t number) {
    number = htole64(number);
    return write_field(at, tag, &number, sizeof number);
}

/* Writes the header and the end mark of the frame whose payload ends at `end`; returns the first byte after it. */
static inline uint8_t *complete_frame(uint8_t *frame, uint8_t type, uint8_t *end) {
    uint32_t size = htole32(end - frame - HEADER_SIZE);
    memcpy(frame, &size, sizeof size);
    frame[HEADER_SIZE - 1] = type;
    *end = END_MARK;
    return end + 1;
}

enum frame_state { FRAME_INCOMPLETE, FRAME_TOO_LARGE, FRAME_WITHOUT_END, FRAME_COMPLETE };

/* Looks for a frame at the beginning of `held` bytes. A frame that is complete, or lacks only its end mark, is in
 * `*frame`; frame_length() says how many bytes it takes. */
static inline enum frame_state find_frame(uint8_t *bytes, size_t held, struct frame *frame) {
    if (held < HEADER_SIZE)
        return FRAME_INCOMPLETE;
    uint32_t size = size_at(bytes);
    if (size > MAX_PAYLOAD)
        return FRAME_TOO_LARGE;
    if (held < HEADER_SIZE + size + 1)
        return FRAME_INCOMPLETE;
    *frame = (struct frame){ bytes[HEADER_SIZE - 1], bytes + HEADER_SIZE, size };
    return bytes[HEADER_SIZE + size] == END_MARK ? FRAME_COMPLETE : FRAME_WITHOUT_END;
}

static inline size_t frame_length(const struct frame *frame) {
    return HEADER_SIZE + frame->size + 1;
}

/* Closes a descriptor, if it is one, and keeps errno. */
static inline void close_quietly(int fd) {
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
}

/* Writes everything; returns -1 with errno when a write fails. */
static inline int write_fully(int fd, const uint8_t *data, size_t size) {
    for (ssize_t written; size > 0; data += written, size -= written)
        if ((written = write(fd, data, size)) < 0)
            return -1;
    return 0;
}

#endif
