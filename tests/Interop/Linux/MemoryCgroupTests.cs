using System;
using System.IO;
using LowLevel.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.Linux;

public sealed class MemoryCgroupTests
{
    private const string Version2Mount = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    private const string Version1Mounts =
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
        "33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n" +
        "35 31 0:32 / /sys/fs/cgroup/memory rw shared:4 master:1 - cgroup cgroup rw,memory\n" +
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    [Fact]
    public void Version_2_is_found_below_its_mount_point()
    {
        MemoryCgroup group = MemoryCgroup.Locate("0::/user.slice/app.scope\n", Version2Mount)!;
        Assert.Equal(2, group.Version);
        Assert.Equal("/sys/fs/cgroup/user.slice/app.scope", group.Folder);
    }

    [Fact]
    public void Where_both_versions_are_mounted_the_one_with_the_memory_controller_counts()
    {
        MemoryCgroup group = MemoryCgroup.Locate("9:name=systemd:/x\n4:cpu,memory:/jobs/a\n0::/other\n", Version1Mounts)!;
        Assert.Equal(1, group.Version);
        Assert.Equal("/sys/fs/cgroup/memory/jobs/a", group.Folder);
    }

    [Fact]
    public void A_controller_whose_name_only_begins_like_memory_is_not_it() =>
        Assert.Equal(2, MemoryCgroup.Locate("4:memoryless:/jobs/a\n0::/b\n", Version1Mounts)!.Version);

    [Theory]
    [InlineData("0::/docker/abc/inner", "/docker/abc", "/sys/fs/cgroup/inner")]
    [InlineData("0::/docker/abc", "/docker/abc", "/sys/fs/cgroup")]
    [InlineData("0::/docker/abcdef", "/docker/abc", "/sys/fs/cgroup")]
    [InlineData("0::/../../elsewhere", "/", "/sys/fs/cgroup")]
    [InlineData("0::/", "/", "/sys/fs/cgroup")]
    public void The_mounts_root_is_taken_off_the_path(string cgroup, string root, string expected)
    {
        string mounts = $"35 24 0:30 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        Assert.Equal(expected, MemoryCgroup.Locate(cgroup, mounts)!.Folder);
    }

    [Fact]
    public void A_mount_point_with_a_space_is_unescaped()
    {
        string mounts = @"35 24 0:30 / /mnt/c\040g rw - cgroup2 cgroup2 rw";
        Assert.Equal("/mnt/c g/a", MemoryCgroup.Locate("0::/a", mounts)!.Folder);
    }

    [Theory]
    [InlineData("", Version2Mount)]
    [InlineData("0::/a", "")]
    [InlineData("4:memory:/a", Version2Mount)]
    [InlineData("garbage", "more garbage")]
    public void Without_a_group_or_a_mount_there_is_none(string cgroup, string mounts) =>
        Assert.Null(MemoryCgroup.Locate(cgroup, mounts));

    [Theory]
    [InlineData("max", "max", null)]
    [InlineData("max", "4096000", 4096000UL)]
    [InlineData("8192", "4096000", 8192UL)]
    [InlineData("4096000", "8192", 8192UL)]
    [InlineData("0", "max", 0UL)]
    public void The_limit_is_the_least_over_the_ancestors(string own, string above, ulong? expected)
    {
        using var tree = new Folders("memory.max", above, own);
        string mounts = $"35 24 0:30 / {tree.Root} rw - cgroup2 cgroup2 rw\n";
        Assert.Equal(expected, LimitOf(MemoryCgroup.Locate("0::/above/own", mounts)));
    }

    [Fact]
    public void The_largest_page_count_of_version_1_means_no_limit()
    {
        using var tree = new Folders("memory.limit_in_bytes", "9223372036854771712", "9223372036854771712");
        string mounts = $"35 24 0:30 / {tree.Root} rw - cgroup cgroup rw,memory\n";
        Assert.Null(LimitOf(MemoryCgroup.Locate("4:memory:/above/own", mounts)));
    }

    private static ulong? LimitOf(MemoryCgroup? group)
    {
        using MemoryFiles files = new(group, "/proc/pressure/memory");
        return files.Read().LimitBytes;
    }

    [Fact]
    public void The_charge_of_this_process_is_at_least_something_and_at_most_its_peak()
    {
        MemoryCgroup? own = MemoryCgroup.OfThisProcess();
        Assert.SkipWhen(own?.ChargeBytes is null, "no memory cgroup is visible");
        Assert.InRange(own!.ChargeBytes!.Value, 1UL, own.PeakBytes ?? ulong.MaxValue);
    }

    [Fact]
    public void A_group_made_here_starts_empty_and_is_gone_after_its_removal()
    {
        MemoryCgroup? own = MemoryCgroup.OfThisProcess();
        MemoryCgroup? made = own?.TryCreate($"lowlevel-test-{Guid.NewGuid():N}");
        Assert.SkipWhen(made is null, "this machine lets nobody make a memory cgroup");
        Assert.Equal(0UL, made!.ChargeBytes);
        Assert.True(made.TryRemove());
        Assert.False(Directory.Exists(made.Folder));
        Assert.Null(made.ChargeBytes);
        Assert.False(made.TryEnter());
        Assert.False(made.TryRemove());
    }

    [Fact]
    public void Where_a_folder_is_no_cgroup_nothing_is_left_behind()
    {
        using var tree = new Folders("memory.max", "max", "max");
        string mounts = $"35 24 0:30 / {tree.Root} rw - cgroup2 cgroup2 rw\n";
        MemoryCgroup fake = MemoryCgroup.Locate("0::/above/own", mounts)!;
        Assert.Null(fake.TryCreate("measured"));
        Assert.False(Directory.Exists(Path.Combine(tree.Root, "above", "measured")));
    }

    private sealed class Folders : IDisposable
    {
        public Folders(string file, string above, string own)
        {
            string inner = Path.Combine(Root, "above", "own");
            Directory.CreateDirectory(inner);
            File.WriteAllText(Path.Combine(Root, "above", file), above + "\n");
            File.WriteAllText(Path.Combine(inner, file), own + "\n");
        }

        public string Root { get; } = Path.Combine(Path.GetTempPath(), $"lowlevel-{Guid.NewGuid():N}");

        public void Dispose() => Directory.Delete(Root, recursive: true);
    }
}
