/* adjtimex(2) as a kernel answers whose clock is kept, or is not: by the environment variable KERNEL_CLOCK. A test may
 * not touch the clock of the machine that it runs on, and a container has none of its own. */

#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>

int adjtimex(struct timex *found)
{
    const char *said = getenv("KERNEL_CLOCK");
    int is_kept = said == NULL || strcmp(said, "kept") == 0;

    if (found->modes != 0)
        return -1;
    memset(found, 0, sizeof *found);
    found->maxerror = is_kept ? 4000 : 16000000;
    found->status = is_kept ? STA_PLL : STA_UNSYNC;
    return is_kept ? TIME_OK : TIME_ERROR;
}
