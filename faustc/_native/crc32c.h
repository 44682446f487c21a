#ifndef FAUSTC_CRC32C_H
#define FAUSTC_CRC32C_H
#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), continuing from crc. */
uint32_t faustc_crc32c(uint32_t crc, const uint8_t *data, size_t size);

/* 1 where the CPU's own CRC instruction is used, 0 for the table. */
int faustc_crc32c_hardware(void);
#endif
