using System;
using System.Collections.Generic;
using System.Threading;

namespace Schedules;

/// <summary>A thread of the system that runs one strand after another.</summary>
internal sealed class Carrier
{
    private static readonly List<Carrier> s_all = [];

    private Strand? _strand;

    private Carrier() => new Thread(Run, 512 * 1024) { IsBackground = true }.Start();

    /// <summary>What it waits at between two turns.</summary>
    public Gate Gate { get; } = new();

    /// <summary>That of a strand's number, so that a schedule that is run again finds the same threads. It begins when its gate is opened.</summary>
    public static Carrier Take(Strand strand)
    {
        while (s_all.Count <= strand.Id)
        {
            s_all.Add(new Carrier());
        }

        s_all[strand.Id]._strand = strand;
        return s_all[strand.Id];
    }

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
