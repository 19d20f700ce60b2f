using System;
using System.IO;
using System.Text;
using LowLevel.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.Linux;

public sealed class MemoryReadingTests
{
    [Theory]
    [InlineData("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0\n", 0.0)]
    [InlineData("some avg10=12.34 avg60=99.00 avg300=1.00 total=17\n", 12.34)]
    [InlineData("full avg10=1.00 avg60=0 avg300=0 total=0\nsome avg10=100.00 avg60=0 avg300=0 total=0", 100.0)]
    [InlineData("some  avg10=7", 7.0)]
    public void The_stalls_of_some_tasks_in_ten_seconds_are_read(string text, double percent)
    {
        Assert.True(MemoryFiles.TryParseStalled(Encoding.UTF8.GetBytes(text), out double read));
        Assert.Equal(percent, read);
    }

    [Theory]
    [InlineData("")]
    [InlineData("some")]
    [InlineData("some ")]
    [InlineData("some avg10=")]
    [InlineData("some avg10= avg60=1.00")]
    [InlineData("some avg10=-1.00")]
    [InlineData("some avg10=100.01")]
    [InlineData("some avg10=1,5")]
    [InlineData("some avg10=NaN")]
    [InlineData("some avg10=1e1")]
    [InlineData("some avg10=0x10")]
    [InlineData("some avg60=1.00 avg10=1.00")]
    [InlineData("full avg10=1.00")]
    [InlineData("something avg10=1.00")]
    [InlineData("avg10=1.00")]
    [InlineData("\0\0\0")]
    public void Text_that_says_something_else_is_no_reading(string text) => Assert.False(MemoryFiles.TryParseStalled(Encoding.UTF8.GetBytes(text), out _));

    [Fact]
    public void The_stalls_of_the_group_are_asked_before_the_machine_s_and_a_file_that_is_a_folder_is_none()
    {
        using var tree = new Tree();
        string machine = tree.Write("machine", "some avg10=1.00 avg60=0 avg300=0 total=0");
        Assert.Equal(1.0, Read(MemoryCgroup.At(2, tree.Root), machine).StalledPercent);
        tree.Write("memory.pressure", "some avg10=2.00 avg60=0 avg300=0 total=0");
        Assert.Equal(2.0, Read(MemoryCgroup.At(2, tree.Root), machine).StalledPercent);
        Assert.Equal(1.0, Read(MemoryCgroup.At(1, tree.Root), machine).StalledPercent);
        Assert.Equal(new MemoryReading(null, null, null, null), Read(null, tree.Root));
        Assert.Equal(new MemoryReading(null, null, null, null), Read(null, Path.Combine(tree.Root, "absent")));
    }

    [Fact]
    public void The_group_nearest_to_its_own_limit_counts_for_the_charge_and_the_least_limit_for_the_limit()
    {
        using var tree = new Tree();
        tree.Write("above/memory.max", "1000");
        tree.Write("above/memory.current", "900");
        tree.Write("above/own/memory.max", "500");
        tree.Write("above/own/memory.current", "100");
        MemoryCgroup group = MemoryCgroup.Locate("0::/above/own\n", $"35 24 0:30 / {tree.Root} rw - cgroup2 cgroup2 rw\n")!;
        Assert.Equal(new MemoryReading(500, 900, 1000, null), Read(group, Path.Combine(tree.Root, "absent")));
        tree.Write("above/memory.stat", "inactive_file 899\nactive_file 7");
        Assert.Equal(new MemoryReading(500, 100, 500, null), Read(group, Path.Combine(tree.Root, "absent")));
        tree.Write("above/memory.stat", "inactive_file 5000"); // counted at another moment than the charge
        Assert.Equal(new MemoryReading(500, 100, 500, null), Read(group, Path.Combine(tree.Root, "absent")));
        tree.Write("above/own/memory.current", "garbage");
        Assert.Equal(new MemoryReading(500, 0, 1000, null), Read(group, Path.Combine(tree.Root, "absent")));
    }

    [Fact]
    public void A_limit_that_changes_in_a_real_group_is_read_as_it_is_now()
    {
        MemoryCgroup? group = MemoryCgroup.OfThisProcess()?.TryCreate($"lowlevel-test-{Guid.NewGuid():N}");
        Assert.SkipWhen(group is null, "this machine lets nobody make a memory cgroup");
        try
        {
            foreach (ulong limit in new[] { 64ul << 20, 32ul << 20, 128ul << 20 })
            {
                File.WriteAllText(Path.Combine(group!.Folder, group.Version == 2 ? "memory.max" : "memory.limit_in_bytes"), $"{limit}");
                MemoryReading reading = Read(group, "/proc/pressure/memory");
                Assert.Equal((limit, 0ul, limit), (reading.LimitBytes, reading.ChargeBytes, reading.ChargeLimitBytes));
            }
        }
        finally
        {
            group!.TryRemove();
        }
    }

    [Fact]
    public void This_machine_s_reading_agrees_with_itself()
    {
        MemoryReading reading = LinuxSystem.Instance.ReadMemory();
        Assert.Equal(LinuxSystem.Instance.CgroupMemoryLimitBytes, reading.LimitBytes);
        Assert.Equal(reading.ChargeBytes is null, reading.ChargeLimitBytes is null);
        Assert.InRange(reading.StalledPercent ?? 0, 0, 100);
    }

    [Fact]
    public void A_reading_leaves_no_garbage_and_sees_what_has_changed_since()
    {
        using var tree = new Tree();
        tree.Write("memory.max", "1000");
        tree.Write("memory.current", "900");
        tree.Write("memory.stat", "anon 1\ninactive_file 100\nactive_file 7");
        tree.Write("memory.pressure", "some avg10=2.00 avg60=0 avg300=0 total=0");
        using MemoryFiles files = new(MemoryCgroup.At(2, tree.Root), Path.Combine(tree.Root, "absent"));
        Assert.Equal(new MemoryReading(1000, 800, 1000, 2.0), files.Read());
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++)
        {
            files.Read();
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        tree.Write("memory.current", "90");
        tree.Write("memory.max", "max");
        Assert.Equal(new MemoryReading(null, null, null, 2.0), files.Read());
        tree.Write("memory.max", "95");
        Assert.Equal(new MemoryReading(95, 0, 95, 2.0), files.Read());
    }

    private static MemoryReading Read(MemoryCgroup? group, string machine)
    {
        using MemoryFiles files = new(group, machine);
        return files.Read();
    }

    private sealed class Tree : IDisposable
    {
        public string Root { get; } = Directory.CreateTempSubdirectory("lowlevel-").FullName;

        public string Write(string file, string text)
        {
            string path = Path.Combine(Root, file);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, text + "\n");
            return path;
        }

        public void Dispose() => Directory.Delete(Root, recursive: true);
    }
}
