using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>A shortage of memory makes treatment early, to the tick of the test's clock; a limit that changes moves the cap.</summary>
public sealed class PressureTests
{
    private const ulong MiB = 1 << 20;

    private static readonly MemoryReading s_none = new(1000, 500, 1000, 0);
    private static readonly MemoryReading s_some = new(1000, 920, 1000, 0);
    private static readonly MemoryReading s_high = new(1000, 500, 1000, 25);

    [Fact]
    public void Under_some_pressure_a_block_is_treated_after_a_quarter_of_the_delay()
    {
        FaultyOperatingSystem os = new() { Memory = () => s_some };
        using TestPlant plant = Plant(os);
        plant.Arena.Aerator.Pass();
        Assert.Equal(MemoryPressure.Some, plant.Arena.Aerator.Pressure);
        plant.Free(plant.Allocate(10));
        for (int pass = 0; pass < 4; pass++)
        {
            plant.Clock.Advance(TimeSpan.FromMilliseconds(62.5));
            plant.Arena.Aerator.Pass();
            Assert.Empty(plant.Reported());
        }

        plant.Clock.Advance(TimeSpan.FromMilliseconds(62.5));
        plant.Arena.Aerator.Pass();
        Assert.Single(plant.Reported());
        plant.Check();
    }

    [Fact]
    public void Under_high_pressure_a_block_is_treated_by_the_next_pass()
    {
        FaultyOperatingSystem os = new() { Memory = () => s_high };
        using TestPlant plant = Plant(os, o => o.ThreadPages = true);
        plant.Arena.Aerator.Pass();
        nint block = plant.Allocate(10);
        plant.Free(block);
        plant.Arena.Aerator.Pass(); // no time has passed; the block was in this thread's pages
        Assert.Contains(block, plant.Reported());
        plant.Check();
    }

    [Theory]
    [InlineData(true, 1000)]
    [InlineData(false, 1250)]
    public void Pressure_that_comes_while_a_block_rests_treats_it_at_the_next_look(bool responds, int expected)
    {
        MemoryReading now = s_none;
        FaultyOperatingSystem os = new() { Memory = () => now };
        using TestPlant plant = Plant(os, o => o.Aeration.RespondToPressure = responds);
        plant.Arena.Aerator.Pass(); // looks at 0, and next at 1 s
        plant.Free(plant.Allocate(10));
        int at = 0;
        for (; plant.Reported().Count == 0 && at < 5000; at += 250)
        {
            now = at == 250 ? s_high : now;
            plant.Pass();
        }

        Assert.Equal(expected, at);
        Assert.Equal(responds ? MemoryPressure.High : MemoryPressure.None, plant.Arena.Aerator.Pressure);
    }

    [Fact]
    public void When_pressure_ends_a_block_rests_the_whole_delay_again()
    {
        MemoryReading now = s_high;
        FaultyOperatingSystem os = new() { Memory = () => now };
        using TestPlant plant = Plant(os);
        plant.Arena.Aerator.Pass();
        now = s_none;
        plant.Clock.Advance(TimeSpan.FromSeconds(1));
        plant.Arena.Aerator.Pass();
        Assert.Equal(MemoryPressure.None, plant.Arena.Aerator.Pressure);
        plant.Free(plant.Allocate(10));
        for (int pass = 0; pass < 4; pass++)
        {
            plant.Pass();
        }

        Assert.Empty(plant.Reported());
        plant.Pass();
        Assert.Single(plant.Reported());
    }

    [Fact]
    public void Memory_is_looked_at_once_a_second_however_many_passes_there_are()
    {
        FaultyOperatingSystem os = new() { Memory = () => s_some };
        using TestPlant plant = Plant(os);
        for (int pass = 0; pass < 48; pass++) // of 62.5 ms: three seconds less one pass after the first
        {
            plant.Arena.Aerator.Pass();
            plant.Clock.Advance(TimeSpan.FromMilliseconds(62.5));
        }

        Assert.Equal(3, os.MemoryReadings);
    }

    [Theory]
    [InlineData(true, true, 1)]
    [InlineData(true, false, 1)]
    [InlineData(false, true, 1)]
    [InlineData(false, false, 0)]
    public void Nothing_is_read_where_neither_pressure_nor_the_cap_asks_for_it(bool responds, bool follows, int readings)
    {
        FaultyOperatingSystem os = new() { Memory = () => s_high };
        using TestPlant plant = Plant(os, o =>
        {
            o.Aeration.RespondToPressure = responds;
            o.CapBytes = follows ? null : o.CapBytes;
        });
        plant.Arena.Aerator.Pass();
        Assert.Equal(readings, os.MemoryReadings);
        Assert.Equal(responds ? MemoryPressure.High : MemoryPressure.None, plant.Arena.Aerator.Pressure);
    }

    [Fact]
    public void A_worker_with_a_long_delay_wakes_every_second_to_look_and_does_not_make_blocks_old()
    {
        FaultyOperatingSystem os = new() { Memory = () => s_none };
        using TestPlant plant = Plant(os, o => o.Aeration.Delay = TimeSpan.FromHours(1), hasWorker: true);
        Until(() => plant.Clock.Armings == 1);
        plant.Clock.Advance(plant.Clock.UntilNextTimer!.Value);
        for (int look = 1; look <= 5; look++)
        {
            Until(() => plant.Clock.Armings == look + 1);
            Assert.Equal((look, TimeSpan.FromSeconds(1)), (os.MemoryReadings, plant.Clock.UntilNextTimer!.Value));
            plant.Clock.Advance(TimeSpan.FromSeconds(1));
        }

        Assert.Equal(Pace.RestingEpochs, plant.Arena.Epoch);
    }

    [Fact]
    public void Under_high_pressure_nothing_is_kept_for_reuse()
    {
        foreach ((MemoryReading reading, bool keeps) in new[] { (s_some, true), (s_high, false) })
        {
            FaultyOperatingSystem os = new() { Memory = () => reading };
            using TestPlant plant = Plant(os, o => o.Aeration.MinimumOrder = null);
            plant.Allocate(10, 16);
            nint[] waves = plant.Allocate(9, 4);
            for (int i = 0; i < 6; i++) // comes back for 4 MiB in each epoch: as much as a sixteenth of 64 MiB
            {
                plant.Free(waves);
                waves = plant.Allocate(9, 4);
                plant.Pass();
            }

            plant.Free(waves);
            plant.PassUntilRested();
            Assert.Equal(keeps, plant.Raw(9) + plant.Raw(10) != 0);
            plant.Check();
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void The_cap_follows_the_limit_of_a_cgroup_that_changes_while_running(int version)
    {
        using var folder = new CgroupFolder(version);
        folder.Set(limit: 256 * MiB, charge: 10 * MiB);
        FaultyOperatingSystem os = new() { PhysicalMemoryBytes = 64ul << 30, CgroupMemoryLimitBytes = 256 * MiB, Memory = folder.Read };
        using TestPlant plant = Plant(os, o => (o.SizeBytes, o.CapBytes) = (512 << 20, null));
        Assert.Equal(192 * (long)MiB, plant.Arena.GetStatistics().CapBytes);
        nint[] blocks = plant.Allocate(10, 25);
        folder.Set(limit: 64 * MiB, charge: 10 * MiB);
        PassASecond(plant);
        Assert.Equal(100 * (long)MiB, plant.Arena.GetStatistics().CapBytes); // never below what is taken
        Assert.Throws<OutOfMemoryException>(() => { plant.Allocate(0); });
        plant.Check();
        plant.Free(blocks[..10]);
        Assert.Equal(60 * (long)MiB, plant.Arena.GetStatistics().CapBytes);
        plant.Free(blocks[10..20]);
        Assert.Equal(48 * (long)MiB, plant.Arena.GetStatistics().CapBytes);
        nint[] more = plant.Allocate(10, 7);
        Assert.Throws<OutOfMemoryException>(() => { plant.Allocate(0); });
        folder.Set(limit: null, charge: 10 * MiB);
        PassASecond(plant);
        Assert.Equal(512 * (long)MiB, plant.Arena.GetStatistics().CapBytes);
        plant.Check();
        plant.Free(more.Concat(blocks[20..]).Append(plant.Allocate(0)));
        folder.Dispose();
        PassASecond(plant); // files that are gone limit nothing and press nobody
        Assert.Equal((512 * (long)MiB, MemoryPressure.None), (plant.Arena.GetStatistics().CapBytes, plant.Arena.Aerator.Pressure));
    }

    [Fact]
    public void A_cap_that_was_given_does_not_follow()
    {
        FaultyOperatingSystem os = new() { Memory = () => new(MiB, 0, MiB, null) };
        using TestPlant plant = Plant(os);
        PassASecond(plant);
        Assert.Equal(128 * (long)MiB, plant.Arena.GetStatistics().CapBytes);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void File_pages_that_can_be_dropped_at_once_are_no_pressure(int version)
    {
        using var folder = new CgroupFolder(version);
        FaultyOperatingSystem os = new() { Memory = folder.Read };
        using TestPlant plant = Plant(os);
        folder.Set(limit: 100 * MiB, charge: 99 * MiB, inactiveFile: 20 * MiB);
        PassASecond(plant);
        Assert.Equal(MemoryPressure.None, plant.Arena.Aerator.Pressure);
        folder.Set(limit: 100 * MiB, charge: 99 * MiB, inactiveFile: 1 * MiB);
        PassASecond(plant);
        Assert.Equal(MemoryPressure.High, plant.Arena.Aerator.Pressure);
    }

    private static TestPlant Plant(FaultyOperatingSystem os, Action<PageArenaOptions>? configure = null, bool hasWorker = false) =>
        new(configure, hasWorker, new FakeBalloon { Capacity = TestPlant.Capacity, WatchesMemory = true }, os);

    private static void PassASecond(TestPlant plant)
    {
        plant.Clock.Advance(TimeSpan.FromSeconds(1));
        plant.Arena.Aerator.Pass();
    }

    private static void Until(Func<bool> reached) => Assert.True(SpinWait.SpinUntil(reached, TimeSpan.FromSeconds(60)));

    /// <summary>A folder with the files of a memory cgroup; no kernel behind it.</summary>
    private sealed class CgroupFolder(int version) : IDisposable
    {
        private readonly string _folder = Directory.CreateTempSubdirectory("lowlevel-").FullName;

        public MemoryReading Read()
        {
            using MemoryFiles files = new(MemoryCgroup.At(version, _folder), Path.Combine(_folder, "pressure-of-the-machine"));
            return files.Read();
        }

        public void Set(ulong? limit, ulong charge, ulong inactiveFile = 0)
        {
            string unlimited = version == 2 ? "max" : "9223372036854771712";
            Write(version == 2 ? "memory.max" : "memory.limit_in_bytes", limit?.ToString(CultureInfo.InvariantCulture) ?? unlimited);
            Write(version == 2 ? "memory.current" : "memory.usage_in_bytes", $"{charge}");
            Write("memory.stat", $"anon 1\nfile 2\n{(version == 2 ? "" : "total_")}inactive_file {inactiveFile}\nslab 3");
        }

        public void Dispose()
        {
            if (Directory.Exists(_folder))
            {
                Directory.Delete(_folder, recursive: true);
            }
        }

        private void Write(string file, string text) => File.WriteAllText(Path.Combine(_folder, file), text + "\n");
    }
}
