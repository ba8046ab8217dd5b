/* picolibc's stdout on the host-target interface. */
#include <stdio.h>

int put_character(int character);

static int put(char character, FILE *file)
{
    (void)file;
    put_character((unsigned char)character);
    return (unsigned char)character;
}

static FILE console = FDEV_SETUP_STREAM(put, NULL, NULL, _FDEV_SETUP_WRITE);
FILE *const stdout = &console;
FILE *const stderr = &console;
