using System;

namespace LowLevel.Interop.Host;

/// <summary>How one budget is divided.</summary>
internal enum BudgetRule
{
    /// <summary>By need first, then equally.</summary>
    Fair,

    /// <summary>Equally, whatever is needed.</summary>
    Equal,
}

/// <summary>What one guest has and wants, in bytes.</summary>
/// <param name="Total">All its memory: it can use no more.</param>
/// <param name="Used">Memory that it cannot give up now, as the kernel bears it out: it is never taken, so a claim must not make it.</param>
/// <param name="Claimed">What it has just taken beyond that, by its own word.</param>
internal readonly record struct GuestDemand(ulong Total, ulong Used, ulong Claimed = 0);

/// <summary>What a division has come to.</summary>
/// <param name="Bytes">Sum of the allowances.</param>
/// <param name="IsOver">The guests use more than the budget: each is allowed what it uses, and no more.</param>
internal readonly record struct Division(UInt128 Bytes, bool IsOver);

/// <summary>Divides a budget among guests. Max-min fairness, by filling with water: nobody can be given a byte more unless it is taken from
/// somebody who has no more than that one.
/// <code>
/// u[i] = min(used[i], total[i])                  nobody is pushed into out-of-memory
/// n[i] = min(total[i], u[i] + claimed[i] + max(u[i] / 8, 32 MiB))   with a reserve to grow into until it is asked again
///
/// Fair:   sum n &lt;= budget:  a[i] = min(total[i], n[i] + L)     all needs are met, the rest is spread equally
///         sum n &gt;  budget:  a[i] = max(u[i], min(n[i], L))     those above the equal share L are cut to it
/// Equal:                    a[i] = max(u[i], min(total[i], L))
///         sum u &gt;  budget:  a[i] = u[i]                         over the budget, and said so
///
/// L is the largest level with sum a &lt;= budget; what is left over is less than a byte for each guest
/// </code></summary>
internal static class BudgetPolicy
{
    /// <summary>The least that a guest has above what it uses, bytes.</summary>
    public const ulong ReserveLeast = 32 << 20;

    private const int ReserveShare = 8;

    /// <summary>What a guest needs: what it uses, what it claims, and its reserve.</summary>
    public static ulong Need(in GuestDemand guest)
    {
        ulong used = Used(guest);
        ulong free = guest.Total - used;
        ulong reserve = Math.Min(free, Math.Max(used / ReserveShare, ReserveLeast));
        return used + reserve + Math.Min(free - reserve, guest.Claimed);
    }

    /// <summary>Divides the budget.</summary>
    /// <param name="rule">How.</param>
    /// <param name="budget">Bytes for all.</param>
    /// <param name="guests">The guests.</param>
    /// <param name="allowances">Receives what each may have; as many as there are guests.</param>
    public static Division Divide(BudgetRule rule, ulong budget, ReadOnlySpan<GuestDemand> guests, Span<ulong> allowances)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(allowances.Length, guests.Length, nameof(allowances));
        UInt128 used = 0;
        UInt128 needed = 0;
        foreach (GuestDemand guest in guests)
        {
            used += Used(guest);
            needed += Need(guest);
        }

        Func<GuestDemand, ulong, ulong> share = rule == BudgetRule.Equal ? ShareEqually : needed <= budget ? ShareRest : ShareNeed;
        ulong level = used > budget ? 0 : HighestLevel(share, budget, guests);
        UInt128 sum = 0;
        for (int i = 0; i < guests.Length; i++)
        {
            allowances[i] = used > budget ? Used(guests[i]) : share(guests[i], level);
            sum += allowances[i];
        }

        return new Division(sum, used > budget);
    }

    private static ulong Used(in GuestDemand guest) => Math.Min(guest.Used, guest.Total);

    private static ulong ShareRest(GuestDemand guest, ulong level)
    {
        ulong need = Need(guest);
        return need + Math.Min(level, guest.Total - need);
    }

    private static ulong ShareNeed(GuestDemand guest, ulong level) => Math.Max(Used(guest), Math.Min(Need(guest), level));

    private static ulong ShareEqually(GuestDemand guest, ulong level) => Math.Max(Used(guest), Math.Min(guest.Total, level));

    /// <summary>By halving: every share grows with the level, and level 0 fits.</summary>
    private static ulong HighestLevel(Func<GuestDemand, ulong, ulong> share, ulong budget, ReadOnlySpan<GuestDemand> guests)
    {
        ulong fits = 0;
        ulong least = budget;
        while (fits < least)
        {
            ulong middle = least - ((least - fits) / 2);
            UInt128 sum = 0;
            foreach (GuestDemand guest in guests)
            {
                sum += share(guest, middle);
            }

            (fits, least) = sum <= budget ? (middle, least) : (fits, middle - 1);
        }

        return fits;
    }
}
