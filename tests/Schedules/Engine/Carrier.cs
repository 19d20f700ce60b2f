using System;
using System.Collections.Generic;
using System.Threading;

namespace Schedules;

/// <summary>A thread of the system that runs one strand after another.</summary>
internal sealed class Carrier
{
    private static readonly Stack<Carrier> s_idle = new();

    private Strand? _strand;

    private Carrier() => new Thread(Run, 512 * 1024) { IsBackground = true }.Start();

    /// <summary>What it waits at between two turns.</summary>
    public Gate Gate { get; } = new();

    /// <summary>One that has nothing to do. It begins when its gate is opened.</summary>
    public static Carrier Take(Strand strand)
    {
        Carrier carrier = s_idle.Count == 0 ? new Carrier() : s_idle.Pop();
        carrier._strand = strand;
        return carrier;
    }

    /// <summary>It has nothing to do any more. Only one thread of the program runs at a time, so no lock.</summary>
    public static void Give(Carrier carrier) => s_idle.Push(carrier);

    private void Run()
    {
        while (true)
        {
            Gate.Pass();
            Strand strand = _strand!;
            Strand.Current = strand;
            try
            {
                if (!strand.Scheduler.IsEnding)
                {
                    strand.Body();
                }
            }
            catch (StrandEndedException)
            {
            }
            catch (Exception e)
            {
                strand.Scheduler.Find($"{strand.Name}: {(e is FindingException ? e.Message : e.ToString())}");
            }

            Strand.Current = null;
            strand.Scheduler.End(strand);
        }
    }
}
