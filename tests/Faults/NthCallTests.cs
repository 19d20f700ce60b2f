using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Faults;

/// <summary>Each system call about memory fails at its n-th use, and from there on, with each errno that it may have: see <see cref="FaultScenario"/> for
/// what must hold. LOWLEVEL_FAULTS=all tries every n and more errnos.</summary>
public sealed class NthCallTests(ITestOutputHelper output)
{
    private static readonly bool TriesAll = Environment.GetEnvironmentVariable("LOWLEVEL_FAULTS") == "all";

    private static readonly Errno[] Errnos = TriesAll
        ? [Errno.ENOMEM, Errno.EAGAIN, Errno.EINTR, Errno.EINVAL, Errno.EPERM, Errno.ENOSYS, Errno.EBUSY, Errno.EIO]
        : [Errno.ENOMEM, Errno.EAGAIN, Errno.EPERM];

    public static TheoryData<int> Setups => new(Enumerable.Range(0, FaultSetup.All.Length));

    [Theory]
    [MemberData(nameof(Setups))]
    public void Whatever_call_fails_nothing_is_lost_the_errno_is_named_and_service_goes_on(int index)
    {
        FaultSetup setup = FaultSetup.All[index];
        int injected = 0;
        int refused = 0;
        foreach (IGrouping<(SystemCall Call, MemoryAdvice Advice), RecordedCall> key in Baseline(setup).GroupBy(c => (c.Call, c.Advice)))
        {
            foreach (int nth in Chosen(key.Count()))
            {
                foreach (int times in new[] { 1, int.MaxValue })
                {
                    // Without the long form each place gets one errno, and the places take turns.
                    foreach (Errno errno in TriesAll ? Errnos : [Errnos[injected % Errnos.Length]])
                    {
                        refused += RunWith(setup, key.Key.Call, key.Key.Advice, errno, nth, times);
                        injected++;
                    }
                }
            }
        }

        output.WriteLine($"{setup}: {injected} faults injected, {refused} of them were refusals to the user, 0 losses");
        Assert.True(injected >= 40 && refused > 0, $"{injected} faults, {refused} refusals: too little was tried");
    }

    private static IReadOnlyList<RecordedCall> Baseline(FaultSetup setup)
    {
        FaultyOperatingSystem os = new();
        using FaultScenario scenario = new(setup, os);
        scenario.Run();
        Assert.Empty(scenario.Refusals);
        AssertBalanced(os, default);
        return os.Calls;
    }

    /// <summary>The first ones, the last, and some between.</summary>
    private static IEnumerable<int> Chosen(int count) =>
        TriesAll || count <= 3 ? Enumerable.Range(1, count) : [1, (count + 1) / 2, count];

    /// <summary>1 if the user heard of it.</summary>
    private static int RunWith(FaultSetup setup, SystemCall call, MemoryAdvice advice, Errno errno, int nth, int times)
    {
        string what = $"{setup}: {call} {(advice == default ? "" : advice)} fails with {errno} at use {nth}{(times == 1 ? "" : " and ever after")}";
        FaultyOperatingSystem os = new();
        os.Fail(call, errno, nth, times, advice == default ? null : advice);
        using FaultScenario scenario = new(setup, os);
        try
        {
            scenario.Run();
            Assert.All(scenario.Refusals, r => Assert.Contains(errno.ToString(), r, StringComparison.Ordinal));
            AssertBalanced(os, call);
            return scenario.Refusals.Count == 0 ? 0 : 1;
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{what}: {e.Message} ({string.Join("; ", scenario.Refusals.Take(3))})", e);
        }
    }

    /// <summary>What was mapped is unmapped, what was opened is closed; unless that very call was made to fail.</summary>
    private static void AssertBalanced(FaultyOperatingSystem os, SystemCall failed)
    {
        RecordedCall[] done = [.. os.Calls.Where(c => c.Result == Errno.None)];
        if (failed != SystemCall.Unmap)
        {
            long mapped = done.Where(c => c.Call == SystemCall.MapAnonymous || (c.Call == SystemCall.MapShared && c.Address == 0)).Sum(c => (long)c.Bytes);
            Assert.Equal(mapped, done.Where(c => c.Call == SystemCall.Unmap).Sum(c => (long)c.Bytes));
        }

        if (failed != SystemCall.Close)
        {
            Assert.Equal(done.Count(c => c.Call == SystemCall.CreateMemfd), done.Count(c => c.Call == SystemCall.Close));
        }
    }
}
