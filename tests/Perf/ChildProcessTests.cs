using System;
using System.IO;
using LowLevel.Interop.Linux;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>Real processes, without waiting: their demand lasts a millisecond.</summary>
public sealed class ChildProcessTests
{
    [Fact]
    public void A_child_measures_in_a_group_of_its_own_and_leaves_none_behind()
    {
        MemoryCgroup? group;
        string demand = Path.GetTempFileName();
        File.WriteAllText(demand, "seconds,used_bytes,page_cache_bytes\n0,67108864,1048576\n1,33554432,0\n");
        try
        {
            using ChildProcess child = ChildProcess.Start(
                "test", "replay-child", "--treatment", "off", "--demand", demand, "--scale", "1", "--speed", "1000");
            child.WaitFor("warm");
            group = child.Group;
            Usage baseline = child.Exact();
            child.Send("go");
            child.WaitFor("start");
            Assert.Equal(5, child.WaitFor("end").Words.Length);
            Usage net = child.Exact().Net(baseline);
            Assert.InRange(net.Rss, 24 << 20, 128 << 20);
            Assert.True(child.ChargeSource == "own" ? net.Charge >= 24 << 20 : net.Charge is null);
            child.Send("finish");
        }
        finally
        {
            File.Delete(demand);
        }

        AssertIsGone(group);
    }

    [Fact]
    public void A_child_that_ends_early_is_reported_with_its_name_and_exit_code()
    {
        MemoryCgroup? group;
        using (ChildProcess child = ChildProcess.Start("somebody", "plant-child", "--contestant", "nobody"))
        {
            MeasurementException said = Assert.Throws<MeasurementException>(() => child.WaitFor("warm"));
            Assert.Contains("somebody", said.Message, StringComparison.Ordinal);
            Assert.Contains("exit code 2", said.Message, StringComparison.Ordinal);
            group = child.Group;
        }

        AssertIsGone(group);
    }

    [Fact]
    public void A_child_whose_parent_goes_away_ends_by_itself()
    {
        MemoryCgroup? group;
        string demand = Path.GetTempFileName();
        File.WriteAllText(demand, "seconds,used_bytes,page_cache_bytes\n0,1048576,0\n1,1048576,0\n");
        using (ChildProcess child = ChildProcess.Start(
            "test", "replay-child", "--treatment", "off", "--demand", demand, "--scale", "1", "--speed", "1000"))
        {
            // Closing its input before the word "go" is what the end of a parent looks like.
            child.WaitFor("warm");
            group = child.Group;
        }

        File.Delete(demand);
        AssertIsGone(group);
    }

    private static void AssertIsGone(MemoryCgroup? group) => Assert.False(Directory.Exists(group?.Folder));
}
