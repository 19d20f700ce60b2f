using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Interop.Virtio;

namespace LowLevel.Interop.Host;

/// <summary>The rounds.</summary>
internal sealed partial class HostServer
{
    private readonly PressureBrake _brake = new();
    private volatile HostStatus? _status;
    private long _rounds;

    /// <summary>The host after its last round.</summary>
    public HostStatus Status => _status ?? Describe(0, _options.BudgetBytes, default, []);

    private void Divide()
    {
        Deadline tick = new(_options.Clock, TimeSpan.Zero);
        while (!_ends)
        {
            bool isTick = tick.Left == TimeSpan.Zero;
            if (isTick)
            {
                tick = new Deadline(_options.Clock, _options.Interval);
                _brake.Update(_options.System.ReadMemory());
            }

            Round(isTick);
            _wake.Wait(tick);
        }
    }

    private void Round(bool asks)
    {
        GuestSession[] sessions = Sessions();
        List<GuestSession> guests = [];
        List<GuestDemand> demands = [];
        foreach (GuestSession session in sessions)
        {
            if (session.Demand() is GuestDemand demand)
            {
                guests.Add(session);
                demands.Add(demand);
            }
        }

        ulong[] allowances = new ulong[guests.Count];
        ulong effective = _brake.Apply(_options.BudgetBytes);
        Division division = BudgetPolicy.Divide(_options.Rule, effective, demands.ToArray(), allowances);
        for (int i = 0; i < allowances.Length; i++)
        {
            guests[i].Allow(allowances[i]);
            if (asks)
            {
                guests[i].AskForStatistics();
            }
        }

        HostStatus status = Describe(++_rounds, effective, division, sessions);
        _status = status;
        if (_options.StatusPath is string path)
        {
            StatusFile.Write(path, status);
        }

        _options.AfterRound?.Invoke(status);
    }

    private HostStatus Describe(long round, ulong effective, in Division division, GuestSession[] sessions)
    {
        GuestStatus[] guests = [.. sessions.Select(static session => session.Status()).Where(static guest => guest.State != GuestState.Ended)];
        ulong resident = 0;
        foreach (GuestStatus guest in guests)
        {
            resident += guest.ResidentBytes;
        }

        return new HostStatus
        {
            Round = round,
            BudgetBytes = _options.BudgetBytes,
            EffectiveBytes = effective,
            Rule = _options.Rule,
            IsOver = division.IsOver,
            ResidentBytes = resident,
            Guests = guests,
            Ended = Ended,
        };
    }
}
