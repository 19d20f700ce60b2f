using System;
using System.Linq;
using CsCheck;
using LowLevel.Interop.Host;
using Xunit;

namespace LowLevel.Tests.Interop.Host;

/// <summary>The division keeps its equations for whatever guests there are.</summary>
public sealed class BudgetPolicyTests
{
    private const ulong MiB = HostFixture.MiB;
    private const ulong GiB = 1024 * MiB;

    private static readonly Gen<GuestDemand> s_guest = Gen.Select(Gen.ULong[0, 8 * GiB], Gen.ULong[0, 9 * GiB], Gen.ULong[0, 2 * GiB], Gen.Bool)
        .Select(static (total, used, claimed, claims) => new GuestDemand(total, used, claims ? claimed : 0));

    private static readonly Gen<(BudgetRule Rule, ulong Budget, GuestDemand[] Guests)> s_case =
        Gen.Select(Gen.Enum<BudgetRule>(), Gen.ULong[0, 64 * GiB], s_guest.Array[0, 12]);

    [Fact]
    public void The_sum_is_the_budget_as_far_as_the_guests_can_use_it() => s_case.Sample(static one =>
    {
        (ulong[] allowed, Division division) = Divide(one.Rule, one.Budget, one.Guests);
        UInt128 sum = Sum(allowed);
        UInt128 totals = Sum([.. one.Guests.Select(static guest => guest.Total)]);
        Assert.Equal(sum, division.Bytes);
        Assert.Equal(Sum([.. one.Guests.Select(Used)]) > one.Budget, division.IsOver);
        UInt128 most = UInt128.Min(one.Budget, totals);
        Assert.True(division.IsOver || (sum <= one.Budget && sum + (uint)one.Guests.Length >= most), $"{sum} of {most}");
    });

    [Fact]
    public void Nobody_gets_less_than_it_uses_or_more_than_it_has() => s_case.Sample(static one =>
    {
        (ulong[] allowed, Division division) = Divide(one.Rule, one.Budget, one.Guests);
        Assert.All(one.Guests.Zip(allowed), pair => Assert.InRange(pair.Second, Used(pair.First), pair.First.Total));
        Assert.All(one.Guests.Zip(allowed), pair => Assert.True(!division.IsOver || pair.Second == Used(pair.First)));
    });

    /// <summary>Who is given more than another above the floor of each (what it uses, or where all needs are met what it needs) has it only
    /// because the other can use no more.</summary>
    [Fact]
    public void Nobody_can_get_more_unless_one_that_has_no_more_gets_less() => s_case.Sample(static one =>
    {
        (ulong[] allowed, Division division) = Divide(one.Rule, one.Budget, one.Guests);
        bool meetsNeeds = one.Rule == BudgetRule.Fair && Sum([.. one.Guests.Select(static guest => BudgetPolicy.Need(guest))]) <= one.Budget;
        for (int i = 0; i < allowed.Length && !division.IsOver; i++)
        {
            for (int j = 0; j < allowed.Length; j++)
            {
                // i stands above the level of j: then i is at its floor, or j at its ceiling.
                bool isAtFloor = allowed[i] == (meetsNeeds ? BudgetPolicy.Need(one.Guests[i]) : Used(one.Guests[i]));
                ulong ceiling = one.Rule == BudgetRule.Equal || meetsNeeds ? one.Guests[j].Total : BudgetPolicy.Need(one.Guests[j]);
                Assert.True(Level(i) <= Level(j) || isAtFloor || allowed[j] == ceiling, $"{i}: {allowed[i]}, {j}: {allowed[j]}");
            }
        }

        ulong Level(int guest) => allowed[guest] - (meetsNeeds ? BudgetPolicy.Need(one.Guests[guest]) : 0);
    });

    [Fact]
    public void All_needs_are_met_where_they_fit() => s_case.Sample(static one =>
    {
        (ulong[] allowed, _) = Divide(BudgetRule.Fair, one.Budget, one.Guests);
        bool fits = Sum([.. one.Guests.Select(static guest => BudgetPolicy.Need(guest))]) <= one.Budget;
        Assert.All(one.Guests.Zip(allowed), pair => Assert.True(!fits || pair.Second >= BudgetPolicy.Need(pair.First)));
    });

    [Fact]
    public void A_larger_budget_takes_from_nobody() => Gen.Select(s_case, Gen.ULong[0, 16 * GiB]).Sample(static (one, more) =>
    {
        (ulong[] before, _) = Divide(one.Rule, one.Budget, one.Guests);
        (ulong[] after, _) = Divide(one.Rule, one.Budget + more, one.Guests);
        Assert.All(before.Zip(after), static pair => Assert.True(pair.First <= pair.Second));
    });

    /// <summary>But for the bytes that are left over (less than one for each guest).</summary>
    [Fact]
    public void Whoever_uses_more_gets_no_less_and_the_others_no_more() =>
        Gen.Select(s_case.Where(static one => one.Guests.Length > 0), Gen.ULong[0, 4 * GiB], Gen.Int[0, 11]).Sample(static (one, more, who) =>
        {
            who %= one.Guests.Length;
            ulong slack = (ulong)one.Guests.Length;
            (ulong[] before, Division first) = Divide(one.Rule, one.Budget, one.Guests);
            one.Guests[who] = one.Guests[who] with { Used = one.Guests[who].Used + more };
            (ulong[] after, Division second) = Divide(one.Rule, one.Budget, one.Guests);
            for (int i = 0; i < before.Length && !first.IsOver && !second.IsOver; i++)
            {
                Assert.True(i == who ? after[i] + slack >= before[i] : after[i] <= before[i] + slack, $"{i}: {before[i]} then {after[i]}, {who} uses more");
            }
        });

    [Fact]
    public void A_claim_never_takes_what_another_uses() => Gen.Select(s_case, Gen.ULong, Gen.Int[0, 11]).Sample(static (one, claim, who) =>
    {
        GuestDemand[] guests = [.. one.Guests, new GuestDemand(ulong.MaxValue, 0, claim)];
        (ulong[] allowed, Division division) = Divide(one.Rule, one.Budget, guests);
        Assert.Equal(Sum([.. one.Guests.Select(Used)]) > one.Budget, division.IsOver);
        Assert.All(one.Guests.Zip(allowed), static pair => Assert.True(pair.Second >= Used(pair.First)));
    });

    [Theory]
    [InlineData("fair", 288, "96 8 8", "154 66 66")]
    [InlineData("fair", 208, "96 8 8", "128 40 40")]
    [InlineData("fair", 180, "96 8 8", "100 40 40")]
    [InlineData("fair", 150, "96 8 8", "96 27 27")]
    [InlineData("fair", 100, "96 8 8", "96 8 8")]
    [InlineData("fair", 1000, "96 8 8", "192 192 192")]
    [InlineData("equal", 288, "96 8 8", "96 96 96")]
    [InlineData("equal", 210, "100 8 8", "100 55 55")]
    public void Guests_of_192_MiB(string rule, int budget, string used, string expected)
    {
        GuestDemand[] guests = [.. used.Split(' ').Select(static text => new GuestDemand(192 * MiB, ulong.Parse(text) * MiB))];
        (ulong[] allowed, _) = Divide(rule == "fair" ? BudgetRule.Fair : BudgetRule.Equal, (ulong)budget * MiB, guests);
        Assert.Equal(expected, string.Join(' ', allowed.Select(static bytes => bytes / MiB)));
    }

    [Fact]
    public void More_allowances_than_guests_are_left_alone_and_fewer_are_refused()
    {
        ulong[] allowed = [1, 2];
        BudgetPolicy.Divide(BudgetRule.Fair, GiB, [new GuestDemand(MiB, 0)], allowed);
        Assert.Equal([MiB, 2], allowed);
        Assert.Throws<ArgumentOutOfRangeException>(() => BudgetPolicy.Divide(BudgetRule.Fair, GiB, [new(1, 0), new(1, 0), new(1, 0)], allowed));
    }

    private static ulong Used(GuestDemand guest) => Math.Min(guest.Used, guest.Total);

    private static (ulong[] Allowed, Division Division) Divide(BudgetRule rule, ulong budget, GuestDemand[] guests)
    {
        ulong[] allowed = new ulong[guests.Length];
        Division division = BudgetPolicy.Divide(rule, budget, guests, allowed);
        return (allowed, division);
    }

    private static UInt128 Sum(ulong[] values) => values.Aggregate((UInt128)0, static (sum, value) => sum + value);
}
