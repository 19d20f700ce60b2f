using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;

namespace Schedules;

/// <summary>A thread's cache of tokens, as the product's are of blocks: the gate, the registry, draining and reaping are the product's own;
/// the stack has a point in the middle of each step.</summary>
internal sealed class TokenCache : ThreadCache
{
    private readonly Stack<int> _tokens = new();
    private int _inside;

    public TokenCache(LowLevel.Thread owner, int number)
        : base(owner, number, 64, 64, 0)
    {
    }

    public override bool LooksEmpty => _tokens.Count == 0;

    public override bool IsOrphan => Number != TokenRegistry.Youngest; // of an earlier schedule

    /// <summary>Puts one in; false: the gate is shut.</summary>
    public bool Push(int token)
    {
        if (!TryEnter())
        {
            return false;
        }

        Work(() => _tokens.Push(token));
        Exit();
        return true;
    }

    /// <summary>Takes one out; null: the gate is shut, or nothing is there.</summary>
    public int? Pop()
    {
        if (!TryEnter())
        {
            return null;
        }

        int? token = null;
        Work(() => token = _tokens.Count == 0 ? null : _tokens.Pop());
        Exit();
        return token;
    }

    /// <summary>Takes out all.</summary>
    public int[] Empty()
    {
        int[] all = [];
        Work(() =>
        {
            all = [.. _tokens];
            _tokens.Clear();
        });
        return all;
    }

    private void Work(System.Action step)
    {
        Seam.Require(_inside++ == 0, "the owner and another are inside at once");
        Seam.Point("inside");
        step();
        _inside--;
    }
}

/// <summary>All caches of tokens; what is drained lies in a common heap.</summary>
internal sealed class TokenRegistry() : ThreadCacheRegistry<TokenCache>(++s_youngest)
{
    private static int s_youngest;

    public static int Youngest => s_youngest;

    public List<int> Drained { get; } = [];

    protected override TokenCache Make(LowLevel.Thread owner) => new(owner, s_youngest);

    protected override void Remember(TokenCache cache)
    {
    }

    protected override bool LooksRested(TokenCache cache) => !cache.LooksEmpty;

    protected override bool DrainFrozen(TokenCache cache, bool restedOnly)
    {
        int[] all = cache.Empty();
        Drained.AddRange(all);
        return all.Length != 0;
    }
}

/// <summary>Owners that push and pop, and what becomes of every token: held by its owner, in the cache, or drained; each exactly once.</summary>
internal abstract class CacheCase : ScheduleCase
{
    private readonly List<int> _held = [];
    private readonly List<TokenCache> _caches = [];

    protected TokenRegistry Registry { get; private set; } = null!;

    protected int Given { get; set; }

    public override int BufferDepth => 4;

    public override void SetUp()
    {
        Registry = new TokenRegistry();
        _held.Clear();
        _caches.Clear();
        Given = 0;
    }

    public override void Check()
    {
        Registry.DrainAll();
        int[] all = [.. _held, .. Registry.Drained];
        Require(all.Order().SequenceEqual(Enumerable.Range(1, Given)), $"given 1..{Given}, found {string.Join(' ', all.Order())}");
    }

    /// <summary>Pushes two tokens, takes one back, pushes a third.</summary>
    protected void Own(int first)
    {
        TokenCache cache = Registry.GetOrCreate()!;
        _caches.Add(cache);
        Give(cache, first);
        Give(cache, first + 1);
        if (cache.Pop() is int back)
        {
            _held.Add(back);
        }
    }

    protected void Give(TokenCache cache, int token)
    {
        if (!cache.Push(token))
        {
            _held.Add(token);
        }
    }
}

/// <summary>One owner at work, one who drains.</summary>
internal sealed class GateCase : CacheCase
{
    public override string Name => "gate";

    public override IReadOnlyList<Mutation> Mutations =>
    [
        Skip("ThreadCacheRegistry", "Freeze"), LoseWrite("ThreadCache", "Freeze"), LoseWrite("ThreadCache", "TryEnter"), LoseWrite("ThreadCache", "Exit"),
    ];

    public override void SetUp()
    {
        base.SetUp();
        Given = 2;
        Go("owner", () => Own(1));
        Go("drainer", () =>
        {
            Registry.DrainAll();
            Registry.DrainAll();
        });
    }
}

/// <summary>One owner, two who drain at the same time, one of them for long.</summary>
internal sealed class TwoDrainersCase : CacheCase
{
    public override string Name => "two drainers";

    public override int Preemptions => 2;

    public override IReadOnlyList<Mutation> Mutations => [Skip("ThreadCacheRegistry", "Freeze"), LoseWrite("ThreadCache", "Freeze")];

    public override void SetUp()
    {
        base.SetUp();
        Given = 2;
        Go("owner", () => Own(1));
        Go("drainer", () => Registry.DrainRested());
        Go("shutter", () =>
        {
            Registry.Shut();
            Registry.WhileFrozen(caches => Require(caches.All(c => c.LooksEmpty), "a cache that is shut has something"));
            Registry.Reopen();
        });
    }
}

/// <summary>A thread ends while another drains: what it left is found, once.</summary>
internal sealed class ThreadEndCase : CacheCase
{
    public override string Name => "thread end";

    public override IReadOnlyList<Mutation> Mutations => [Skip("ThreadCacheRegistry", "Freeze"), LoseWrite("ThreadCache", "Freeze")];

    public override void SetUp()
    {
        base.SetUp();
        Given = 4;
        LowLevel.Thread first = Go("owner", () => Own(1));
        Go("drainer", () =>
        {
            Registry.DrainRested();
            first.Join();
            Registry.DrainRested();
            Require(Registry.Count <= 1, "the cache of a thread that has ended is kept");
        });
        Go("late", () => Own(3));
    }
}
