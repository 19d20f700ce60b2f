using System;
using System.Diagnostics.CodeAnalysis;
using Schedules;

namespace LowLevel;

/// <summary>Stands before the framework's type of this name for all code of the product: a strand, whatever operating system's thread runs it.</summary>
internal sealed class Thread
{
    [ThreadStatic]
    private static Thread? t_outside;

    private readonly Strand? _strand;

    public Thread(Action body)
    {
        Scheduler scheduler = Scheduler.Building ?? throw new InvalidOperationException("Threads are made by a case or by its strands.");
        _strand = scheduler.Add("thread", body, this);
    }

    public Thread(Strand strand) => _strand = strand;

    private Thread()
    {
    }

    public static Thread CurrentThread => Strand.Current?.Thread ?? (t_outside ??= new Thread());

    public string? Name { get; set; }

    public bool IsBackground
    {
        get => _strand is { IsBackground: true };
        set => _strand!.IsBackground = value;
    }

    public int ManagedThreadId => _strand?.Id + 1 ?? 0;

    public bool IsAlive
    {
        get
        {
            Seam.Point("is alive");
            return _strand is null || _strand.IsAlive;
        }
    }

    public static void Yield() => default(SpinWait).SpinOnce(-1);

    public void Start() => _strand!.Scheduler.Start(_strand);

    public void Join() => Join(System.Threading.Timeout.InfiniteTimeSpan);

    public bool Join(TimeSpan timeout)
    {
        Seam.Point("join");
        return Strand.Current is not Strand me || me.Scheduler.IsEnding || me.Scheduler.Join(me, _strand!, timed: timeout >= TimeSpan.Zero);
    }
}

/// <summary>As above. A strand that spins is not asked again until another one has written.</summary>
internal struct SpinWait
{
    public bool NextSpinWillYield { get; private set; }

    public void SpinOnce() => SpinOnce(-1);

    [SuppressMessage("Style", "IDE0060", Justification = "The framework's signature.")]
    public void SpinOnce(int sleep1Threshold)
    {
        NextSpinWillYield = true;
        if (Seam.Point("spin", string.Empty, string.Empty) is Strand strand)
        {
            strand.Scheduler.Spin(strand);
        }
    }
}

/// <summary>As above.</summary>
internal sealed class Lock
{
    public bool IsHeldByCurrentThread => System.Threading.Monitor.IsEntered(this);

    public void Enter() => System.Threading.Monitor.Enter(this);

    public void Exit() => System.Threading.Monitor.Exit(this);

    public bool TryEnter() => TryEnter(TimeSpan.Zero);

    public bool TryEnter(TimeSpan timeout) => System.Threading.Monitor.TryEnter(this, timeout);
}
