using System;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>A cap that moves while pages are taken and given back.</summary>
public sealed class BudgetTests
{
    private static readonly Watermarks s_noMarks = Watermarks.For(1000, 0);

    [Fact]
    public void A_cap_below_the_bound_is_kept_and_may_rise_to_the_bound_and_no_higher()
    {
        Budget budget = new(1000, 600, s_noMarks);
        Assert.Equal((0ul, 600ul), budget.Read());
        Assert.False(budget.TryTake(601, default));
        Assert.True(budget.TryTake(600, default));
        Assert.False(budget.TryTake(1, default));
        budget.SetLimit(5000);
        Assert.Equal((600ul, 1000ul), budget.Read());
        Assert.True(budget.TryTake(400, default));
        Assert.False(budget.TryTake(1, default));
    }

    [Fact]
    public void A_cap_set_below_what_is_taken_stands_there_and_falls_with_each_release_to_its_limit()
    {
        Budget budget = new(1000, 1000, s_noMarks);
        Assert.True(budget.TryTake(500, default));
        budget.SetLimit(100);
        Assert.Equal((500ul, 500ul), budget.Read());
        Assert.False(budget.TryTake(1, default));
        budget.Release(300);
        Assert.Equal((200ul, 200ul), budget.Read());
        Assert.False(budget.TryTake(1, default)); // what came back is not for the next one
        budget.Release(150);
        Assert.Equal((50ul, 100ul), budget.Read());
        Assert.True(budget.TryTake(50, default));
        Assert.False(budget.TryTake(1, default));
        budget.Release(100);
        Assert.Equal((0ul, 100ul), budget.Read());
    }

    [Fact]
    public void A_limit_that_rises_before_the_cap_has_fallen_to_it_ends_the_fall()
    {
        Budget budget = new(1000, 1000, s_noMarks);
        Assert.True(budget.TryTake(800, default));
        budget.SetLimit(100);
        budget.Release(100);
        budget.SetLimit(900);
        Assert.Equal((700ul, 900ul), budget.Read());
        budget.Release(700);
        Assert.Equal((0ul, 900ul), budget.Read());
    }

    [Fact]
    public void The_low_watermark_is_of_what_is_left_under_the_moved_cap()
    {
        Budget budget = new(1000, 1000, new Watermarks(10, 20, 40));
        Assert.False(budget.IsBelowLow);
        budget.SetLimit(30);
        Assert.True(budget.TryTake(15, default));
        Assert.True(budget.IsBelowLow);
        Assert.Equal(25ul, budget.MissingToHigh);
        Assert.False(budget.TryTake(6, default)); // the reserve counts from the moved cap, too
        budget.SetLimit(1000);
        Assert.False(budget.IsBelowLow);
        Assert.Equal(0ul, budget.MissingToHigh);
    }

    [Fact]
    public void Closing_gives_up_what_is_withheld_and_tells_of_the_last_release()
    {
        int emptied = 0;
        Budget budget = new(1000, 400, s_noMarks) { Emptied = () => emptied++ };
        Assert.True(budget.TryTake(3, default));
        budget.Release(2);
        budget.Close();
        budget.SetLimit(1);
        Assert.Equal((1ul, 1000ul), budget.Read());
        budget.Release(1);
        Assert.Equal(1, emptied);
    }

    [Fact]
    public void However_the_cap_moves_meanwhile_never_more_than_it_is_taken_and_nothing_is_lost()
    {
        Budget budget = new(1000, 700, s_noMarks);
        using Barrier start = new(4);
        int running = 3;
        bool broken = false;
        Thread[] threads =
        [
            .. Enumerable.Range(1, 3).Select(seed => new Thread(() =>
            {
                Random random = new(seed);
                start.SignalAndWait();
                for (int i = 0; i < 30_000; i++)
                {
                    ulong pages = (ulong)random.Next(1, 200);
                    if (budget.TryTake(pages, default))
                    {
                        (ulong taken, ulong cap) = budget.Read();
                        broken |= taken > cap || cap > 1000;
                        budget.Release(pages);
                    }
                }

                Interlocked.Decrement(ref running);
            })),
        ];
        Array.ForEach(threads, thread => thread.Start());
        start.SignalAndWait(TestContext.Current.CancellationToken);
        Random limits = new(7);
        while (Volatile.Read(ref running) != 0)
        {
            budget.SetLimit((ulong)limits.Next(1, 1200));
        }

        Array.ForEach(threads, thread => thread.Join());
        Assert.False(broken);
        budget.SetLimit(123);
        Assert.Equal((0ul, 123ul), budget.Read());
    }
}
