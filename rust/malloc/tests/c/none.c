/* Where the arena cannot be made, every call fails and says why. */
#include "check.h"

int main(void)
{
    CHECK(!kmalloc(10, GFP_KERNEL) && errno == EINVAL);
    CHECK(!kmem_cache_create("none", 64, 0, 0, NULL) && errno == EINVAL);
    CHECK(ksize("text") == 0 && errno == EINVAL);
    haybarn_set_reporter(count_report);
    kfree("text");
    CHECK(reports == 1);
    puts(haybarn_error());
    return 0;
}
