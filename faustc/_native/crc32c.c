/*
 * CRC-32C with the CPU's instruction (SSE4.2, ARMv8 CRC) chosen at run time,
 * and a slice-by-8 table elsewhere.
 *
 * The instruction has a latency of 3 cycles and a throughput of 1, so a single
 * chain leaves two thirds of it idle. Three chains run side by side over
 * neighbouring blocks; their results are joined by "appending zeros": the
 * effect of BLOCK zero bytes on a CRC is linear, so four tables hold it.
 */
#include "crc32c.h"
#include <string.h>

#define POLY 0x82F63B78u
#define BLOCK 1024 /* bytes per chain; three chains make 3 KiB a round */

static uint32_t slice[8][256];
static uint32_t shift_block[4][256];
static int use_hardware;

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAVE_HARDWARE 1
#include <nmmintrin.h>
#define TARGET __attribute__((target("sse4.2")))
#define STEP8(crc, word) ((uint32_t)_mm_crc32_u64((crc), (word)))
#define STEP1(crc, byte) _mm_crc32_u8((crc), (byte))
static int detect(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define HAVE_HARDWARE 1
#include <arm_acle.h>
#if defined(__clang__)
#define TARGET __attribute__((target("crc")))
#else
#define TARGET __attribute__((target("+crc")))
#endif
#define STEP8(crc, word) __crc32cd((crc), (word))
#define STEP1(crc, byte) __crc32cb((crc), (byte))
#if defined(__APPLE__)
static int detect(void)
{
    return 1; /* every 64-bit Apple CPU has it */
}
#else
#include <sys/auxv.h>
static int detect(void)
{
    return (getauxval(AT_HWCAP) & (1ul << 7)) != 0; /* HWCAP_CRC32 */
}
#endif
#else
#define HAVE_HARDWARE 0
static int detect(void)
{
    return 0;
}
#endif

/* Runs when the module is loaded, before any thread can ask for a checksum. */
__attribute__((constructor)) static void build_tables(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int k = 0; k < 8; k++)
            crc = (crc & 1) ? (crc >> 1) ^ POLY : crc >> 1;
        slice[0][n] = crc;
    }
    for (uint32_t n = 0; n < 256; n++)
        for (int k = 1; k < 8; k++)
            slice[k][n] = (slice[k - 1][n] >> 8) ^ slice[0][slice[k - 1][n] & 0xFF];

    /* shift_block[k][n]: the CRC register holding n << 8k, after BLOCK zero bytes. */
    for (int k = 0; k < 4; k++)
        for (uint32_t n = 0; n < 256; n++) {
            uint32_t crc = n << (8 * k);
            for (int i = 0; i < BLOCK; i++)
                crc = (crc >> 8) ^ slice[0][crc & 0xFF];
            shift_block[k][n] = crc;
        }
#if HAVE_HARDWARE && defined(__x86_64__)
    __builtin_cpu_init();
#endif
    use_hardware = detect();
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static uint32_t with_table(uint32_t crc, const uint8_t *p, size_t size)
{
    while (size >= 8) {
        uint32_t a = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 |
                            (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        crc = slice[7][a & 0xFF] ^ slice[6][(a >> 8) & 0xFF] ^
              slice[5][(a >> 16) & 0xFF] ^ slice[4][a >> 24] ^
              slice[3][p[4]] ^ slice[2][p[5]] ^ slice[1][p[6]] ^ slice[0][p[7]];
        p += 8;
        size -= 8;
    }
    while (size--)
        crc = (crc >> 8) ^ slice[0][(crc ^ *p++) & 0xFF];
    return crc;
}

#if HAVE_HARDWARE
static inline uint32_t shift(uint32_t crc)
{
    return shift_block[0][crc & 0xFF] ^ shift_block[1][(crc >> 8) & 0xFF] ^
           shift_block[2][(crc >> 16) & 0xFF] ^ shift_block[3][crc >> 24];
}

TARGET static uint32_t with_hardware(uint32_t crc, const uint8_t *p, size_t size)
{
    while (size >= 3 * BLOCK) {
        uint32_t a = crc, b = 0, c = 0;
        for (int i = 0; i < BLOCK; i += 8) {
            a = STEP8(a, load64(p + i));
            b = STEP8(b, load64(p + BLOCK + i));
            c = STEP8(c, load64(p + 2 * BLOCK + i));
        }
        crc = shift(shift(a) ^ b) ^ c;
        p += 3 * BLOCK;
        size -= 3 * BLOCK;
    }
    while (size >= 8) {
        crc = STEP8(crc, load64(p));
        p += 8;
        size -= 8;
    }
    while (size--)
        crc = STEP1(crc, *p++);
    return crc;
}
#endif

uint32_t faustc_crc32c(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
#if HAVE_HARDWARE
    if (use_hardware)
        return ~with_hardware(crc, data, size);
#endif
    return ~with_table(crc, data, size);
}

int faustc_crc32c_hardware(void)
{
    return use_hardware;
}
