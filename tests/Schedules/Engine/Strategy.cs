using System.Collections.Generic;
using System.Linq;

namespace Schedules;

/// <summary>Chooses who goes on at each point where there is a choice.</summary>
internal abstract class Strategy
{
    /// <summary>The choices made in this schedule, for a replay.</summary>
    public List<int> Made { get; } = [];

    public int Choose(List<int> options, bool mayStay)
    {
        int choice = Pick(options, mayStay);
        if (choice >= options.Count)
        {
            throw new System.InvalidOperationException("The case does not do the same under the same choices.");
        }

        Made.Add(choice);
        return choice;
    }

    /// <summary>A schedule begins.</summary>
    public virtual void Begin() => Made.Clear();

    /// <summary>The index of an option. The first is the current strand where <paramref name="mayStay"/>.</summary>
    protected abstract int Pick(List<int> options, bool mayStay);
}

/// <summary>All schedules with at most so many preemptions, depth first. To leave a strand that could go on, and to let a buffered write out
/// while one can, are preemptions.</summary>
internal sealed class AllSchedules(int preemptions) : Strategy
{
    private readonly List<Fork> _path = [];
    private int _depth;
    private int _used;

    /// <summary>What the choices of a schedule cost; whether there is another schedule.</summary>
    public bool TryNext()
    {
        while (_path.Count != 0)
        {
            Fork last = _path[^1];
            if (last.Choice + 1 < last.Options)
            {
                _path[^1] = last with { Choice = last.Choice + 1 };
                return true;
            }

            _path.RemoveAt(_path.Count - 1);
        }

        return false;
    }

    public override void Begin()
    {
        base.Begin();
        _depth = 0;
        _used = 0;
    }

    protected override int Pick(List<int> options, bool mayStay)
    {
        if (_depth == _path.Count)
        {
            _path.Add(new Fork(0, Affordable(options, mayStay)));
        }

        int choice = _path[_depth++].Choice;
        _used += Cost(options, mayStay, choice);
        return choice;
    }

    /// <summary>How many of the options, from the first on, the bound allows. The cheap ones come first.</summary>
    private int Affordable(List<int> options, bool mayStay)
    {
        int count = 1;
        while (count < options.Count && _used + Cost(options, mayStay, count) <= preemptions)
        {
            count++;
        }

        return count;
    }

    private static int Cost(List<int> options, bool mayStay, int choice) => choice != 0 && (mayStay || options[choice] < 0) ? 1 : 0;

    private readonly record struct Fork(int Choice, int Options);
}

/// <summary>Choices by chance, repeatable by the seed: evenly; seldom leaving a strand; or by priorities that change at a few steps
/// (probabilistic concurrency testing).</summary>
internal sealed class RandomSchedules : Strategy
{
    private const int ChangesMax = 3;
    private readonly Dictionary<int, ulong> _priorities = [];
    private readonly HashSet<int> _changes = [];
    private ulong _state;
    private ulong _mode;
    private int _step;

    /// <summary>The next schedule's seed.</summary>
    public ulong Seed { get; set; }

    public override void Begin()
    {
        base.Begin();
        _state = unchecked(Seed * 0x9e37_79b9_7f4a_7c15);
        _mode = Next() % 3;
        _step = 0;
        _priorities.Clear();
        _changes.Clear();
        int length = 1 << (int)(Next() % 8); // no schedule before matters: a seed is a schedule
        for (int i = 0; i < ChangesMax; i++)
        {
            _changes.Add((int)(Next() % (ulong)(length + 1)));
        }
    }

    protected override int Pick(List<int> options, bool mayStay)
    {
        _step++;
        return _mode switch
        {
            0 => (int)(Next() % (ulong)options.Count),
            1 => mayStay && Next() % 8 != 0 ? 0 : (int)(Next() % (ulong)options.Count),
            _ => Highest(options),
        };
    }

    private int Highest(List<int> options)
    {
        int best = 0;
        for (int i = 1; i < options.Count; i++)
        {
            best = Priority(options[i]) > Priority(options[best]) ? i : best;
        }

        if (_changes.Contains(_step))
        {
            _changes.Remove(_step);
            _priorities[options[best]] = Next() >> 8; // below all first ones
            return Highest(options);
        }

        return best;
    }

    private ulong Priority(int option)
    {
        if (!_priorities.TryGetValue(option, out ulong priority))
        {
            _priorities[option] = priority = Next() | (1ul << 63);
        }

        return priority;
    }

    private ulong Next()
    {
        unchecked
        {
            ulong z = _state += 0x9e37_79b9_7f4a_7c15;
            z = (z ^ (z >> 30)) * 0xbf58_476d_1ce4_e5b9;
            z = (z ^ (z >> 27)) * 0x94d0_49bb_1331_11eb;
            return z ^ (z >> 31);
        }
    }
}

/// <summary>The choices of an earlier schedule, then always the first.</summary>
internal sealed class Replay(string choices) : Strategy
{
    private readonly int[] _choices = [.. choices.Split('.', System.StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];

    protected override int Pick(List<int> options, bool mayStay) => Made.Count < _choices.Length ? System.Math.Min(_choices[Made.Count], options.Count - 1) : 0;
}
